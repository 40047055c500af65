// A plugin with the faults that its configuration asks for.
import { setTimeout } from 'node:timers/promises'
import { CniError, definePlugin } from '@nodelet/cni-plugins/sdk'
import type { CniResult, Host } from '@nodelet/cni-plugins/sdk'
import { z } from 'zod'

const megabyte = 1024 * 1024
const result: CniResult = { cniVersion: '1.1.0', interfaces: [], ips: [], routes: [], dns: { domain: 'fine' } }
const never = async (): Promise<never> => new Promise(() => undefined)

function eat(): never {
  const kept: number[][] = []
  for (;;) kept.push(Array.from({ length: megabyte }, () => Math.random()))
}

const faults: Record<string, (signal: AbortSignal, host: Host) => unknown> = {
  none: () => result,
  'throws where nobody waits': async () => {
    setImmediate(() => {
      throw new Error('boom')
    })
    return never()
  },
  'rejects what nobody waits for': async () => {
    void Promise.reject(new Error('boom'))
    return never()
  },
  exits: () => process.exit(3),
  aborts: () => process.abort(),
  crashes: async () => {
    process.kill(process.pid, 'SIGSEGV')
    return never()
  },
  loops: () => {
    for (;;);
  },
  'takes all memory': eat,
  'never answers': never,
  'answers once it is aborted': async (signal) => setTimeout(60_000, result, { signal, ref: false }),
  'gives nothing': () => undefined,
  'gives a number': () => 42,
  'gives half a result': () => ({ ...result, ips: [{}] }),
  'gives too much': () => ({ ...result, dns: { domain: 'x'.repeat(5 * megabyte) } }),
  'prints too much': async () => {
    for (;;) {
      console.log('x'.repeat(megabyte))
      await setTimeout(1)
    }
  },
  'logs too much': async (_, host) => {
    for (;;) {
      host.log.warn({ text: 'x'.repeat(megabyte) }, 'much')
      await setTimeout(1)
    }
  },
  'fails as it should': () => {
    throw new CniError(111, 'not today', { details: 'it rains' })
  },
}

export default definePlugin({
  name: 'faulty',
  config: z.object({ fault: z.string().default('none') }),
  add: async ({ config: { fault } }, host, signal) => (await faults[fault]?.(signal, host)) as CniResult,
  del: async () => undefined,
})
