import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { cniVersions, standardPlugins } from '../../src/index.ts'
import { inProcess, pluginSuite } from '../../src/testing/index.ts'
import type { PluginForm } from '../../src/testing/index.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-suite-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** The cases that host-local fails when it is spoiled. */
async function failing(spoil: (run: PluginForm) => PluginForm): Promise<string[]> {
  const plugin = standardPlugins.find(({ name }) => name === 'host-local')
  if (!plugin) throw new Error('unreachable')
  const hostNetns = '/proc/self/ns/net'
  const cases = pluginSuite(() => ({
    run: spoil(inProcess(plugin, { hostNetns, addressDir: folder })),
    config: { type: 'host-local', ipam: { type: 'host-local', subnet: '10.0.0.0/24' } },
    versions: cniVersions,
    hostNetns,
    netns: () => ({ path: '/nonexistent/pod', [Symbol.dispose]: () => undefined }),
    cniPath: '/nonexistent/bin',
    left: async () =>
      readdirSync(folder, { recursive: true }).filter(
        (name) => /[\d.]+$/.test(String(name)) && !String(name).includes('last_'),
      ),
  }))
  const failed: string[] = []
  for (const { name, run } of cases) await run().catch(() => failed.push(name))
  return failed
}

const answer = (stdout: string, exitCode = 0) => ({ stdout, stderr: '', exitCode })

test.each<[string, (run: PluginForm) => PluginForm, string[]]>([
  ['nothing', (run) => run, []],
  [
    'text before the result',
    (run) => async (env, stdin) => {
      const said = await run(env, stdin)
      return env['CNI_COMMAND'] === 'ADD' && said.exitCode === 0 ? answer(`hello\n${said.stdout}`) : said
    },
    ['ADD and DEL work in every version, with results of that version'],
  ],
  [
    'a DEL that is content only once',
    (run) => {
      const seen = new Set<string>()
      return async (env, stdin) => {
        const id = `${env['CNI_CONTAINERID']}`
        if (env['CNI_COMMAND'] !== 'DEL' || !seen.has(id)) {
          if (env['CNI_COMMAND'] === 'DEL') seen.add(id)
          return run(env, stdin)
        }
        return answer('{"cniVersion":"1.0.0","code":999,"msg":"gone"}', 1)
      }
    },
    ['DEL may come twice, and without an ADD', 'DEL works without the result of ADD'],
  ],
  [
    'a DEL that does nothing',
    (run) => async (env, stdin) => (env['CNI_COMMAND'] === 'DEL' ? answer('') : run(env, stdin)),
    ['ADD and DEL work in every version, with results of that version'],
  ],
  [
    'a GC that does too much',
    (run) => async (env, stdin) => {
      if (env['CNI_COMMAND'] !== 'GC') return run(env, stdin)
      return run(env, JSON.stringify({ ...(JSON.parse(stdin) as object), 'cni.dev/valid-attachments': [] }))
    },
    [
      'GC keeps what is valid, removes the rest, and may come twice',
      'GC without a list of what is valid removes nothing',
    ],
  ],
  [
    'errors without a code',
    (run) => async (env, stdin) => {
      const said = await run(env, stdin)
      return said.exitCode === 0 ? said : answer('no', 1)
    },
    [
      'input that is no JSON, or no object, is refused',
      'versions that it does not speak are refused with those that it does',
    ],
  ],
])('a plugin with %s fails where it should', async (_, spoil, expected) => {
  const failed = await failing(spoil)
  expect(failed).toEqual(expect.arrayContaining(expected))
  if (expected.length === 0) expect(failed).toEqual([])
})
