// Many pods come and go at the same time, and the process that does it is killed at any moment. NODELET_STORM says how often (default
// 1), NODELET_SEED at which moments.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { defaultNetwork } from '../src/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

const rounds = Number(process.env['NODELET_STORM'] ?? 1)
const seed = Number(process.env['NODELET_SEED'] ?? Date.now() % 100_000)
const many = 200

/** @param killedAfter milliseconds; absent: it may end by itself */
async function run(
  machine: TestMachine,
  what: 'add' | 'del' | 'gc',
  killedAfter?: number,
): Promise<string | undefined> {
  const program = join(import.meta.dirname, 'storm.ts')
  const args = ['--conditions=@nodelet/source', program, machine.folder, machine.host, what, String(many)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit')
  const output = Promise.all([text(child.stdout), text(child.stderr)])
  if (killedAfter !== undefined)
    void setTimeout(killedAfter, undefined, { ref: false }).then(() => child.kill('SIGKILL'))
  const [[code, signal], [out, said]] = await Promise.all([ended, output])
  if (signal === 'SIGKILL') return undefined
  expect({ code, said }).toEqual({ code: 0, said: '' })
  return out
}

/** What pods have on the machine. */
function left(machine: TestMachine): string[] {
  const links = machine.run(machine.host, 'ip', '-o', 'link').split('\n')
  const rules = ['iptables-save', 'ip6tables-save'].flatMap((name) =>
    machine.run(machine.host, name, '-t', 'nat').split('\n'),
  )
  const addresses = readdirSync(join(machine.folder, 'cache/networks/test'))
  return [
    ...links.filter((line) => line.includes('veth')),
    ...rules.filter((line) => /id: |CNI-DN|:CNI-[0-9a-f]{24}/.test(line)),
    ...addresses.filter((name) => !/^(last_|lock$)/.test(name)),
    ...['attachments', 'results'].flatMap((name) => readdirSync(join(machine.folder, 'cache', name))),
  ]
}

test(
  `${many} pods at once, ${rounds} times, with kill -9 between: nothing twice, nothing left (seed ${seed})`,
  {
    timeout: 60_000 + rounds * 60_000,
  },
  async () => {
    using machine = makeMachine(
      defaultNetwork({ name: 'test', bridge: 'br0', subnets: ['10.77.0.0/16', 'fd77::/112'] }),
    )
    for (let at = 0; at < many; at += 1) machine.pod(`pod${at}`)
    const moments = fc.sample(fc.record({ add: fc.nat(2_500), del: fc.nat(2_500) }), { numRuns: rounds, seed })
    for (const moment of moments) {
      const addresses = JSON.parse((await run(machine, 'add')) ?? '[]') as string[]
      expect(new Set(addresses).size).toBe(2 * many)
      expect(left(machine).filter((line) => line.includes('veth'))).toHaveLength(many)
      await run(machine, 'del')
      expect(left(machine)).toEqual([])

      await run(machine, 'add', moment.add)
      await run(machine, 'gc')
      await expect.poll(() => left(machine)).toEqual([])

      await run(machine, 'add')
      await run(machine, 'del', moment.del)
      await run(machine, 'gc')
      await expect.poll(() => left(machine)).toEqual([])
    }
  },
)
