// The control plane and the node, each a process of its own, so that what each costs can be told apart.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { NodeConfigInput } from '@nodelet/node-agent'

export type Question = { id?: number } & (
  { what: 'image'; folder: string; image: string } | { what: 'requests' | 'watch-loop' | 'loop' | 'close' | 'end' }
)

export interface Answer {
  kubeconfig?: string
  ofKubelet?: string
  /** How many of each kind the API server was asked, as `VERB resource`. */
  requests?: Record<string, number>
  /** How late the event loop came, in milliseconds. */
  loop?: { p99: number; max: number }
}

/** A forked process with parts of a node. */
export interface Part extends AsyncDisposable {
  pid: number
  /** What it said when it was up. */
  first: Answer
  ask(question: Question): Promise<Answer>
  /** Ends it as a restart would: pods go on. */
  close(): Promise<void>
  /** Kills it as a crash would. */
  kill(): Promise<void>
}

const isBuilt = existsSync(join(import.meta.dirname, '../../packages/node-agent/dist/index.js'))

/** @param built runs what is built, as it would be installed, if it is; else the sources, which cost more */
export async function startPart(config: NodeConfigInput, built: boolean = isBuilt): Promise<Part> {
  const child = fork(join(import.meta.dirname, 'part.ts'), [JSON.stringify(config)], {
    execArgv: built ? ['--max-semi-space-size=2'] : ['--conditions=@nodelet/source'],
    detached: true, // Ctrl-C is for the benchmark, which cleans up with it
  })
  let last = 0
  const first = await heard(child, 0)
  const ask = async (question: Question): Promise<Answer> => {
    const id = ++last
    const answer = heard(child, id)
    child.send({ ...question, id })
    return answer
  }
  const leave = async (what: 'close' | 'end'): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    await ask({ what })
    await exit
  }
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return {
    pid: child.pid ?? 0,
    first,
    ask,
    close: async () => leave('close'),
    kill,
    [Symbol.asyncDispose]: async () => leave('end'),
  }
}

async function heard(child: ChildProcess, id: number): Promise<Answer> {
  const done = Promise.withResolvers<Answer>()
  const onMessage = (message: unknown): void => {
    const answer = message as Answer & { id: number; error?: string }
    if (answer.id !== id) return
    if (answer.error === undefined) done.resolve(answer)
    else done.reject(new Error(answer.error))
  }
  const onExit = (code: number | null): void => done.reject(new Error(`a part of the node ended with ${code}`))
  child.on('message', onMessage).once('exit', onExit)
  try {
    return await done.promise
  } finally {
    child.off('message', onMessage).off('exit', onExit)
  }
}
