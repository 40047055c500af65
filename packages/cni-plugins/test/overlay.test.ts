// The tutorial's plugin: two namespaces are two nodes, joined by a pair of links.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { openNetlink, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { build } from 'rolldown'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { overlay } from '../../../examples/cni-overlay/overlay.ts'
import { cniVersions, loadPlugins, standardPlugins } from '../src/index.ts'
import type { CniOptions, CniResult, PluginConfig } from '../src/index.ts'
import { inProcess, pluginSuite, program } from '../src/testing/index.ts'
import type { PluginUnderTest } from '../src/testing/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { programs as bundle } from '../rolldown.config.ts'
import { usePrograms } from './programs.ts'
import { askIn, threadIn } from './threads.ts'

const root = resolve(import.meta.dirname, '../../..')
const source = join(root, 'examples/cni-overlay/overlay.ts')
const programs = usePrograms()
const built = (): string => join(programs().folder, '../overlay/overlay.js')
// A program of one file starts much faster than sources do.
beforeAll(async () => {
  const { platform, resolve } = bundle(dirname(built()))
  const output = { dir: dirname(built()), format: 'es' as const, codeSplitting: false }
  await build({
    ...(platform && { platform }),
    ...(resolve && { resolve }),
    input: source,
    external: ['koffi'],
    output,
  })
  chmodSync(built(), 0o755)
})
let stack: AsyncDisposableStack
let nodes: [TestMachine, TestMachine]
const config = (own: 1 | 2): PluginConfig => ({
  type: 'overlay',
  id: 42,
  local: `192.0.2.${own}`,
  nodes: [`192.0.2.${own === 1 ? 2 : 1}`],
  ipam: {
    type: 'host-local',
    ranges: [[{ subnet: '10.42.0.0/16', rangeStart: `10.42.${own}.1`, rangeEnd: `10.42.${own}.254` }]],
  },
})

beforeEach(async () => {
  stack = new AsyncDisposableStack()
  const node = (own: 1 | 2): TestMachine =>
    stack.use(makeMachine({ cniVersion: '1.1.0', name: 'mesh', plugins: [config(own)] }))
  nodes = [node(1), node(2)]
  const [one, two] = nodes
  using net = openNetlink({ netns: one.host })
  await net.links.add({ kind: 'veth', name: 'node0', up: true, peer: { name: 'node0', netns: two.host } })
  await net.addresses.add('node0', '192.0.2.1/24')
  using other = openNetlink({ netns: two.host })
  await other.links.set('node0', { up: true })
  await other.addresses.add('node0', '192.0.2.2/24')
})
afterEach(async () => stack.disposeAsync())

/** Starts a server in a namespace that sends so many bytes to whoever comes. */
async function serve(netns: string, bytes: number): Promise<void> {
  const script = `const { parentPort, workerData } = require('node:worker_threads')
    const server = require('node:net').createServer((socket) => socket.end('x'.repeat(workerData.bytes)))
    server.listen(80, () => parentPort.postMessage('ready'))`
  const thread = threadIn(netns, script, { bytes })
  stack.defer(async () => void (await thread.terminate()))
  await once(thread, 'message')
}

/** How many bytes come from a server. */
async function receive(netns: string, address: string): Promise<number> {
  const answer = await askIn(netns, { address, port: 80, patienceMs: 2000 })
  return 'text' in answer ? answer.text.length : 0
}

const addressOf = ({ ips }: CniResult): string => ips[0]?.address.split('/')[0] ?? ''

/** A pod on each node; each gets more from the other than fits in a packet. */
async function checkOverlay(open: (node: TestMachine) => Promise<Partial<CniOptions>>): Promise<void> {
  const bytes = 1_000_000
  const pods = await Promise.all(
    nodes.map(async (node, at) => {
      const cni = node.open(await open(node))
      await cni.status()
      const pod = { containerId: `pod-${at}`, netns: node.pod(`pod-${at}`), ifName: 'eth0' }
      const result = await cni.add(pod)
      await cni.check(pod)
      await serve(pod.netns, bytes)
      return { node, cni, pod, address: addressOf(result) }
    }),
  )
  const [one, two] = pods
  if (!one || !two) throw new Error('unreachable')
  expect([one.address, two.address]).toEqual(['10.42.1.1', '10.42.2.1'])
  expect(await receive(one.pod.netns, two.address)).toBe(bytes)
  expect(await receive(two.pod.netns, one.address)).toBe(bytes)

  // It is the tunnel that they came by, and CHECK sees when it is cut.
  using net = openNetlink({ netns: one.node.host })
  const vxlan = await net.links.get('vx42')
  expect(vxlan?.statistics?.rxBytes).toBeGreaterThan(bytes)
  const entry = { index: vxlan?.index ?? 0, mac: '00:00:00:00:00:00', self: true }
  await net.bridge.deleteForwarding({ ...entry, destination: '192.0.2.2' })
  await expect(one.cni.check(one.pod)).rejects.toThrow('overlay: vx42 does not lead to 192.0.2.2')
  await net.links.set('vx42', { up: false })
  expect(await receive(one.pod.netns, two.address)).toBe(0)

  for (const { node, cni, pod } of pods) {
    await cni.del(pod)
    expect(left(node)).toEqual([])
  }
}

/** Links and addresses of pods; what pods share stays. */
function left(machine: TestMachine, addresses = 'cache/networks', network = 'mesh'): string[] {
  const links = machine.run(machine.host, 'ip', '-o', 'link').match(/veth\w+/g) ?? []
  const files = globSync(`${addresses}/${network}/*`, { cwd: machine.folder })
  return [...links, ...files.filter((file) => !/last_reserved|\block$/.test(file))].toSorted()
}

test('pods of two nodes reach each other: the plugin in this process', async () => {
  await checkOverlay(async () => ({ plugins: [...standardPlugins, overlay] }))
})

test('pods of two nodes reach each other: a file of a folder, in a process of its own', async () => {
  await checkOverlay(async ({ folder, host }) => {
    const dir = join(folder, 'plugins')
    mkdirSync(dir)
    copyFileSync(source, join(dir, 'overlay.ts')) // far from any package
    const { plugins, unloaded } = stack.use(
      await loadPlugins({ dir, hostNetns: host, log: { warn: (...told) => console.log(...told) } }),
    )
    expect(unloaded).toEqual([])
    return { plugins: [...standardPlugins, ...plugins] }
  })
})

test('nodes that come and go are followed', async () => {
  const [{ host, folder, pod, open }] = nodes
  const cni = open({ plugins: [...standardPlugins, overlay] })
  const add = async (name: string, others: string[]): Promise<string[]> => {
    const list = { cniVersion: '1.1.0', name: 'mesh', plugins: [{ ...config(1), nodes: others }] }
    writeFileSync(join(folder, 'net.d/10-test.conflist'), JSON.stringify(list))
    await cni.add({ containerId: name, netns: pod(name), ifName: 'eth0' })
    using net = openNetlink({ netns: host })
    return (await net.bridge.forwarding('vx42')).flatMap(({ destination }) => destination ?? []).toSorted()
  }
  expect(await add('a', ['192.0.2.2', '192.0.2.3'])).toEqual(['192.0.2.2', '192.0.2.3'])
  expect(await add('b', ['192.0.2.3', '192.0.2.4'])).toEqual(['192.0.2.3', '192.0.2.4'])
  expect(await add('c', [])).toEqual([])
})

test('a node without its address is not ready, and a number that is taken is refused', async () => {
  const [{ host, folder, pod, open }] = nodes
  const cni = open({ plugins: [...standardPlugins, overlay] })
  const use = (more: object): void =>
    writeFileSync(
      join(folder, 'net.d/10-test.conflist'),
      JSON.stringify({ cniVersion: '1.1.0', name: 'mesh', plugins: [{ ...config(1), ...more }] }),
    )
  use({ local: '192.0.2.9' })
  await expect(cni.status()).rejects.toMatchObject({ code: 50 })
  use({ id: 0 })
  await expect(cni.status()).rejects.toThrow('overlay: id: ')
  use({})
  using net = openNetlink({ netns: host })
  await net.links.add({ kind: 'vxlan', name: 'other', id: 42, port: 4789 })
  await expect(cni.add({ containerId: 'a', netns: pod('a'), ifName: 'eth0' })).rejects.toThrow(
    'overlay: vx42 cannot be made: another link has its name or number',
  )
})

test('the file is a program as it is', () => {
  const env = { ...process.env, CNI_COMMAND: 'VERSION' }
  const out = execFileSync(process.execPath, ['--conditions=@nodelet/source', source], { encoding: 'utf8', env })
  expect(JSON.parse(out)).toMatchObject({ supportedVersions: cniVersions })
})

test('the tutorial shows the plugin as it is, whole and in order', () => {
  const page = readFileSync(join(root, 'docs/cni-plugin.md'), 'utf8')
  const blocks = [...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = '']) => code.trim())
  const shown = blocks.join('\n\n').split('\n')
  expect(shown).toEqual(readFileSync(source, 'utf8').trim().split('\n').slice(1))
})

let pods = 0
describe.each(['in this process', 'as a program'])('%s', (form) => {
  const subject = (): PluginUnderTest => {
    const [machine] = nodes
    const hostNetns = machine.host
    const addressDir = join(machine.folder, 'addresses')
    return {
      run: form === 'as a program' ? program(built(), { hostNetns }) : inProcess(overlay, { hostNetns, addressDir }),
      config: { ...config(1), ipam: { ...(config(1)['ipam'] as object), dataDir: addressDir } },
      versions: cniVersions,
      hostNetns,
      netns: () => {
        const netns = join(machine.folder, `suite-${(pods += 1)}`)
        pinNamespaces({ paths: { net: netns } })
        return { path: netns, [Symbol.dispose]: () => unpinNamespace(netns) }
      },
      cniPath: programs().folder,
      left: async () => left(machine, 'addresses', 'suite'),
    }
  }
  for (const { name, run } of pluginSuite(subject)) test(name, run)
})
