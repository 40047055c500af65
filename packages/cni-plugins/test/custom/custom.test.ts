import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { loadPlugins, standardPlugins } from '../../src/index.ts'
import type { Cni, CustomPlugins, LoadOptions, PodNetwork } from '../../src/index.ts'
import { makeMachine } from '../machine.ts'
import type { TestMachine } from '../machine.ts'

const plugins = join(import.meta.dirname, 'plugins')
let machine: TestMachine
let warned: ({ message: string; plugin?: string } & Record<string, unknown>)[]
let stack: DisposableStack
const log = { warn: (fields: object, message: string) => void warned.push({ ...fields, message }) }

beforeEach(() => {
  machine = makeMachine({})
  warned = []
  stack = new DisposableStack()
})
afterEach(() => {
  stack.dispose()
  machine[Symbol.dispose]()
})

const load = async (options: Partial<LoadOptions> = {}): Promise<CustomPlugins> =>
  stack.use(await loadPlugins({ dir: plugins, hostNetns: machine.host, log, ...options }))
/** A network of one plugin. */
function use(plugin: object, cniVersion = '1.1.0'): void {
  const list = { name: 'test', cniVersion, plugins: [plugin] }
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
}
const open = (custom: CustomPlugins): Cni =>
  machine.open({ plugins: [...standardPlugins, ...custom.plugins], unloaded: custom.unloaded, log })
let pods = 0
const pod = (): PodNetwork => {
  const containerId = `pod-${(pods += 1)}`
  return { containerId, netns: machine.pod(containerId), ifName: 'eth0' }
}
/** Processes of plugins; other tests may have left children of their own. */
const children = (): string[] =>
  readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8')
    .split(' ')
    .filter((pid) => existsSync(`/proc/${pid}/cmdline`) && isPluginProcess(pid))
const isPluginProcess = (pid: string): boolean =>
  pid !== '' && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('src/custom/main.ts')

describe('faults', () => {
  let shared: CustomPlugins
  beforeAll(async () => {
    shared = await loadPlugins({ dir: plugins, log })
  })
  afterAll(() => shared.close())

  const died = 'plugin type="faulty" failed (add): plugin "faulty" of '
  test.each<[string, number, string]>([
    ['throws where nobody waits', 999, `${died}${plugins}/faulty.ts: an uncaught exception: boom`],
    ['rejects what nobody waits for', 999, `${died}${plugins}/faulty.ts: an unhandled rejection: boom`],
    ['exits', 999, 'its process ended itself with exit status 3'],
    ['aborts', 999, 'its process was ended by SIGABRT'],
    ['crashes', 999, 'its process was ended by SIGSEGV'],
    ['loops', 11, 'faulty.ts: no answer to ADD in time, and was killed'],
    ['takes all memory', 999, 'out of memory, of which it may use 256 MiB'],
    ['gives nothing', 6, 'plugin "faulty": ADD gave no result but undefined'],
    ['gives a number', 6, 'plugin "faulty": ADD gave no result but 42'],
    ['gives half a result', 6, 'plugin "faulty": result of ADD: ips.0.address: '],
    ['gives too much', 6, 'it said more than 4194304 bytes, and was killed'],
    ['prints too much', 6, 'it said more than 4194304 bytes, and was killed'],
    ['logs too much', 6, 'it said more than 4194304 bytes, and was killed'],
    ['fails as it should', 111, 'plugin type="faulty" failed (add): plugin "faulty": not today: it rains'],
  ])('a plugin that %s harms nothing else', async (fault, code, message) => {
    const signal = AbortSignal.timeout(fault === 'loops' ? 1_000 : 45_000)
    use({ type: 'faulty', fault })
    const cni = open(shared)
    await expect(cni.add(pod(), signal)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message) as string,
    })
    use({ type: 'faulty' })
    const next = pod()
    expect(await cni.add(next)).toMatchObject({ dns: { domain: 'fine' } })
    await cni.del(next)
    expect(warned.map(({ message: told }) => told)).not.toContain('pod network not undone')
  })

  test('a plugin that never answers is ended after the limit of a call', async () => {
    const cni = open(await load({ callLimitMs: 2_000 }))
    use({ type: 'faulty', fault: 'never answers' })
    await expect(cni.add(pod())).rejects.toMatchObject({
      code: 11,
      message: expect.stringContaining('no answer to ADD in time, and was killed') as string,
    })
  })
})

test('a call that the caller gives up ends in the plugin, and others go on', async () => {
  const cni = open(await load())
  use({ type: 'faulty', fault: 'answers once it is aborted' })
  const [before] = children()
  await expect(cni.add(pod(), AbortSignal.timeout(200))).rejects.toThrow('The operation was aborted')
  expect(children()[0]).toBe(before) // it was not killed
})

test('what a plugin asks of the machine is done, by other plugins and in its tables', async () => {
  const bridge = { bridge: 'br0', isGateway: true, ipMasq: true }
  const ipam = { type: 'host-local', subnet: '10.77.0.0/24' }
  use({ ...bridge, type: 'asking', by: 'bridge', chain: 'OWN', ipam })
  const cni = open(await load())
  await cni.status()
  const [one, two] = [pod(), pod()]
  const [result] = await Promise.all([cni.add(one), cni.add(two)])
  expect(result.ips).toHaveLength(1)
  expect(machine.run(one.netns, 'ip', '-o', 'address', 'show', 'eth0')).toContain(`inet ${result.ips[0]?.address} `)
  const rules = machine.run(machine.host, 'iptables-save', '-t', 'nat')
  expect(rules).toContain(':OWN ')
  expect(rules).toContain('MASQUERADE')
  const told = warned.filter(({ message }) => message === 'adding')
  expect(told).toHaveLength(2)
  expect(told[0]).toMatchObject({ err: { message: 'seen' }, plugin: `${plugins}/asking.ts` })
  expect(told[0]?.['versions']).toContain('1.1.0')
  await cni.check(one)
  machine.run(one.netns, 'ip', 'link', 'set', 'eth0', 'down')
  machine.run(one.netns, 'ip', 'link', 'delete', 'eth0')
  await expect(cni.check(one)).rejects.toThrow('plugin "asking": ')
  await cni.gc([two])
  expect(machine.run(machine.host, 'iptables-save', '-t', 'nat').match(/-j MASQUERADE/g)).toHaveLength(1)
  await cni.del(two)
})

test('an error of a plugin that was asked has its code', async () => {
  use({ type: 'asking', by: 'nowhere', chain: 'OWN' })
  await expect(open(await load()).add(pod())).rejects.toMatchObject({
    code: 7,
    message: expect.stringContaining('failed to find plugin "nowhere"') as string,
  })
})

test('plugins of one file share a process, which ends when it is idle, and starts again', async () => {
  const custom = await load({ idleMs: 3_000 })
  expect(custom.plugins.map(({ name }) => name)).toEqual(['asking', 'second', 'faulty'])
  expect(children()).toHaveLength(2)
  await vi.waitFor(() => expect(children()).toEqual([]), { timeout: 20_000 })
  use({ type: 'second' }, '1.0.0')
  const cni = open(custom)
  const domain = async (): Promise<string | undefined> => (await cni.add(pod())).dns.domain
  const first = await domain()
  expect(children()).toEqual([first])
  expect(await domain()).toBe(first)
  custom.close()
  await vi.waitFor(() => expect(children()).toEqual([]), { timeout: 20_000 })
  await expect(domain()).rejects.toThrow('closed')
})

test('without plugins there is no process', async () => {
  mkdirSync(join(machine.folder, 'none'))
  const custom = await load({ dir: join(machine.folder, 'none') })
  expect([custom.plugins, custom.unloaded, children()]).toEqual([[], [], []])
})

test('versions that a plugin does not speak are refused', async () => {
  use({ type: 'second' }, '1.1.0')
  await expect(open(await load()).add(pod())).rejects.toMatchObject({ code: 1 })
})

test('what cannot be loaded is told, and the rest goes on', async () => {
  const dir = join(machine.folder, 'plugins')
  cpSync(plugins, dir, { recursive: true }) // far from any package
  const broken: [name: string, code: string, told: string][] = [
    ['broken.ts', 'export default {', 'SyntaxError'],
    ['empty.mjs', 'export const one = 1', 'it exports no plugin that definePlugin made'],
    ['exiting.js', 'process.exit(7)', 'its process ended itself with exit status 7'],
    ['looping.mjs', 'for (;;);', 'not loaded within 5 s, and was killed'],
    ['missing.mjs', "import 'nowhere'", "Cannot find package 'nowhere'"],
    ['throwing.ts', "throw new Error('boom')", 'boom'],
  ]
  for (const [name, code] of broken) writeFileSync(join(dir, name), code)
  writeFileSync(join(dir, 'notes.txt'), 'no plugin')
  const custom = await load({ dir, packages: ['nowhere-at-all'], loadLimitMs: 5_000 })
  expect(custom.plugins.map(({ name }) => name)).toEqual(['asking', 'second', 'faulty'])
  expect(custom.unloaded).toEqual([
    ...broken.map(([name, , told]) => expect.stringContaining(`${join(dir, name)}: ${told}`) as string),
    expect.stringContaining("nowhere-at-all: Cannot find package 'nowhere-at-all'") as string,
  ])
  expect(warned.filter(({ message }) => message === 'a CNI plugin cannot be loaded')).toHaveLength(7)
  const cni = open(custom)
  use({ type: 'overlay' })
  await expect(cni.add(pod())).rejects.toThrow(
    new RegExp(`failed to find plugin "overlay" in path .*not loaded: ${join(dir, 'broken.ts')}: .*throwing.ts: boom`),
  )
  use({ type: 'faulty' })
  await cni.add(pod())
})

test('a folder that is not there is told', async () => {
  const { unloaded } = await load({ dir: '/nonexistent/plugins' })
  expect(unloaded).toEqual([expect.stringContaining('/nonexistent/plugins: ENOENT')])
})

test.each([
  ['bridge', 'two CNI plugins are called "bridge": the standard plugin and that of '],
  ['second', `two CNI plugins are called "second": that of `],
])('a plugin by a name that is taken is refused: %s', async (name, message) => {
  const dir = join(machine.folder, 'plugins')
  cpSync(plugins, dir, { recursive: true })
  writeFileSync(
    join(dir, 'other.mjs'),
    `import { definePlugin } from '@nodelet/cni-plugins/sdk'
    export const it = definePlugin({ name: '${name}', config: () => ({}), add: async () => ({}), del: async () => {} })`,
  )
  const loading = load({ dir })
  await expect(loading).rejects.toMatchObject({ code: 7, message: expect.stringContaining(message) as string })
  await expect(loading).rejects.toThrow(join(dir, 'other.mjs'))
  await vi.waitFor(() => expect(children()).toEqual([]), { timeout: 20_000 })
})

test('packages are looked for from the folders in turn', async () => {
  const [one, two] = [join(machine.folder, 'one'), join(machine.folder, 'two')]
  const write = (folder: string, name: string, domain: string): void => {
    const path = join(folder, 'node_modules', name)
    mkdirSync(path, { recursive: true })
    const description = { name, version: '1.0.0', type: 'module', exports: { '.': { import: './plugin.js' } } }
    writeFileSync(join(path, 'package.json'), JSON.stringify(description))
    writeFileSync(
      join(path, 'plugin.js'),
      `import { definePlugin } from '@nodelet/cni-plugins/sdk'
      const add = async ({ cniVersion }) => ({ cniVersion, interfaces: [], ips: [], routes: [], dns: { domain: '${domain}' } })
      export const plugin = definePlugin({ name: '${name.split('/').pop()}', config: () => ({}), add, del: async () => {} })`,
    )
  }
  write(one, '@acme/mesh', 'one')
  write(two, '@acme/mesh', 'two')
  write(two, 'overlay', 'two')
  const custom = await load({ dir: undefined, packages: ['@acme/mesh', 'overlay'], packageDirs: [one, two] })
  expect(custom.unloaded).toEqual([])
  const cni = open(custom)
  use({ type: 'mesh' })
  expect(await cni.add(pod())).toMatchObject({ dns: { domain: 'one' } })
  use({ type: 'overlay' })
  expect(await cni.add(pod())).toMatchObject({ dns: { domain: 'two' } })
})

test('a process that loops ends with the one that started it', async () => {
  const script = join(import.meta.dirname, 'load.ts')
  const parent = spawn(process.execPath, ['--conditions=@nodelet/source', script, plugins], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(parent.stdout, 'data')) as [Buffer]
  const pids = line.toString().trim().split(' ')
  expect(pids).toHaveLength(2)
  await setTimeout(500) // it loops by now
  parent.kill('SIGKILL')
  await vi.waitFor(() => expect(pids.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]), { timeout: 20_000 })
})
