// The control plane and the node, each a process of its own, so that what each costs can be told apart.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { NodeConfigInput } from '@nodelet/node-agent'

export type Question = { id?: number } & (
  { what: 'image'; folder: string; image: string } | { what: 'requests' | 'watch-loop' | 'loop' | 'end' }
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
  /** Kills it as a crash would. */
  kill(): Promise<void>
}

const isBuilt = existsSync(join(import.meta.dirname, '../../packages/node-agent/dist/index.js'))

/** Runs what is built, as it would be installed; without a build the sources, which cost more. */
export async function startPart(config: NodeConfigInput): Promise<Part> {
  const child = fork(join(import.meta.dirname, 'part.ts'), [JSON.stringify(config)], {
    execArgv: isBuilt ? ['--max-semi-space-size=2'] : ['--conditions=@nodelet/source'],
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
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return {
    pid: child.pid ?? 0,
    first,
    ask,
    kill,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exit = once(child, 'exit')
      await ask({ what: 'end' })
      await exit
    },
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
