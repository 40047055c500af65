// The daemon's side of the way to it.
import { mkdir, rm } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { once } from 'node:events'
import { dirname } from 'node:path'
import { CniError, cniCode } from '../../errors.ts'
import type { LeaseHolder } from './leases.ts'
import { lineOf, parseQuestion } from './remote.ts'
import type { Answer } from './remote.ts'

/** Where it listens: a path, or a descriptor that systemd listens on already. */
export type Listening = { path: string } | { fd: number }

/** Until the signal. @throws when another daemon answers there */
export async function serveLeases(leases: LeaseHolder, listening: Listening, signal: AbortSignal): Promise<void> {
  if ('path' in listening) {
    await mkdir(dirname(listening.path), { recursive: true, mode: 0o700 })
    await removeStale(listening.path)
  }
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    void serve(leases, socket)
  })
  server.listen(listening)
  await once(server, 'listening')
  if (!signal.aborted) await once(signal, 'abort')
  server.close() // which removes the socket that it made
  for (const socket of open) socket.destroy()
}

async function serve(leases: LeaseHolder, socket: Socket): Promise<void> {
  const gone = new AbortController()
  socket.once('close', () => gone.abort(new Error('who asked is gone')))
  socket.on('error', () => socket.destroy())
  const answer = await answerTo(leases, socket, gone.signal).catch(errorOf)
  socket.end(`${JSON.stringify(answer)}\n`)
}

async function answerTo(leases: LeaseHolder, socket: Socket, signal: AbortSignal): Promise<Answer> {
  const question = parseQuestion(await lineOf(socket))
  socket.resume() // so that its end is seen
  switch (question.method) {
    case 'allocate':
      return { lease: await leases.allocate(question.params, signal) }
    case 'release':
      await leases.release(question.params, signal)
      return {}
    case 'releaseOthers':
      await leases.releaseOthers(question.params.network, question.params.valid, signal)
      return {}
    case 'ping':
      return {}
    default:
      return question satisfies never
  }
}

function errorOf(error: unknown): Answer {
  if (error instanceof CniError) {
    const { code, msg, details } = error
    return { error: { code, msg, details } }
  }
  return { error: { code: cniCode.internal, msg: (error as Error).message } }
}

/** What a daemon left that was killed: nobody answers there. */
async function removeStale(path: string): Promise<void> {
  const socket = createConnection(path)
  try {
    await once(socket, 'connect')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ECONNREFUSED') await rm(path, { force: true })
    else if (code !== 'ENOENT') throw error
    return
  } finally {
    socket.destroy()
  }
  throw new Error(`another daemon answers at ${path}`)
}
