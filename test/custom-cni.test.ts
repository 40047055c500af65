// Two agents whose pods are joined by the tutorial's plugin, as a file in a folder that their configuration names.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createCriClient, PodSandboxConfig } from '@nodelet/cri-api'
import type { CriClient } from '@nodelet/cri-api'
import { openNetlink } from '@nodelet/linux'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

const overlay = resolve(import.meta.dirname, '../examples/cni-overlay/overlay.ts')
const crashing = `import { definePlugin } from '@nodelet/cni-plugins/sdk'
const add = async () => { setImmediate(() => { throw new Error('boom') }); await new Promise(() => {}) }
export default definePlugin({ name: 'crashing', config: () => ({}), add, del: async () => {} })`

interface Node {
  machine: TestMachine
  run: string
  client: CriClient
  /** Makes this plugin the network. */
  use(plugin: object): void
}

let stack: AsyncDisposableStack
let nodes: Node[]

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const machines = [stack.use(await makeMachine()), stack.use(await makeMachine())] as const
  const [one, two] = machines.map(({ folder }) => join(folder, 'net')) as [string, string]
  using net = openNetlink({ netns: one })
  await net.links.add({ kind: 'veth', name: 'between', up: true, peer: { name: 'between', netns: two } })
  await net.addresses.add('between', '198.51.100.1/24')
  using other = openNetlink({ netns: two })
  await other.links.set('between', { up: true })
  await other.addresses.add('between', '198.51.100.2/24')
  nodes = await Promise.all(machines.map(startAgent))
}, 180_000)
afterAll(async () => stack.disposeAsync(), 180_000)

async function startAgent(machine: TestMachine, at: number): Promise<Node> {
  const plugins = join(machine.folder, 'plugins')
  const lists = join(machine.folder, 'net.d')
  mkdirSync(plugins)
  mkdirSync(lists)
  copyFileSync(overlay, join(plugins, 'overlay.ts'))
  writeFileSync(join(plugins, 'crashing.mjs'), crashing)
  writeFileSync(join(plugins, 'broken.ts'), 'export default {')
  const use = (plugin: object): void =>
    writeFileSync(
      join(lists, '10-pods.conflist'),
      JSON.stringify({ cniVersion: '1.1.0', name: 'pods', plugins: [plugin] }),
    )
  use(overlayOf(at))
  const config = join(machine.folder, 'nodelet.yaml')
  writeFileSync(config, `cniPluginDir: ${plugins}\ncniConfDir: ${lists}\n`)
  const agent = await machine.up('--config', config, '--parts', 'runtime')
  // The pods' networks are taken away by the plugins that made them: the machine's own reset knows none.
  stack.defer(async () => {
    agent.kill('SIGTERM')
    await once(agent, 'exit')
    const { code, stderr } = await machine.nodelet('reset', '--config', config, ...machine.flags)
    if (code !== 0) throw new Error(`reset ended with ${code}: ${stderr}`)
  })
  const run = `/run/nodelet-${machine.folder.slice(-6)}`
  const client = stack.use(createCriClient(`unix://${run}/cri.sock`, { timeout: 30_000 }))
  return { machine, run, client, use }
}

const overlayOf = (at: number): object => ({
  type: 'overlay',
  id: 7,
  local: `198.51.100.${at + 1}`,
  nodes: [`198.51.100.${2 - at}`],
  ipam: {
    type: 'host-local',
    ranges: [[{ subnet: '10.43.0.0/16', rangeStart: `10.43.${at + 1}.1`, rangeEnd: `10.43.${at + 1}.254` }]],
  },
})

interface RunningPod {
  id: string
  ip: string
  netns: string
}

async function runPod({ client, run }: Node, name: string): Promise<RunningPod> {
  const config = PodSandboxConfig.fromPartial({
    metadata: { name, namespace: 'default', uid: name },
    linux: { securityContext: {} },
  })
  const { podSandboxId: id } = await client.runtimeService.runPodSandbox({ config, runtimeHandler: '' })
  const { status } = await client.runtimeService.podSandboxStatus({ podSandboxId: id, verbose: false })
  const [net] = readdirSync(join(run, 'ns'), { recursive: true }).filter(
    (path) => /net/.test(String(path)) && String(path).includes(id),
  )
  return { id, ip: status?.network?.ip ?? '', netns: join(run, 'ns', String(net)) }
}

const inside = (netns: string, script: string): string[] => [`--net=${netns}`, '--', process.execPath, '-e', script]

test('pods of two agents reach each other', async () => {
  const [one, two] = await Promise.all(nodes.map(async (node) => runPod(node, 'web')))
  expect([one?.ip, two?.ip]).toEqual(['10.43.1.1', '10.43.2.1'])
  const server = spawn(
    'nsenter',
    inside(
      two?.netns ?? '',
      `require('node:net').createServer((one) => one.end('hello')).listen(80, () => console.log())`,
    ),
  )
  try {
    await new Promise((heard) => server.stdout.once('data', heard))
    const script = `require('node:net').connect(80, '${two?.ip}').pipe(process.stdout)`
    const options = { encoding: 'utf8', timeout: 10_000 } as const
    expect(execFileSync('nsenter', inside(one?.netns ?? '', script), options)).toBe('hello')
  } finally {
    server.kill('SIGKILL')
  }
})

test('a plugin that crashes, and one that cannot be loaded, harm no other pod', async () => {
  const [node] = nodes
  if (!node) throw new Error('unreachable')
  const { machine, use } = node
  const plugins = join(machine.folder, 'plugins')
  use({ type: 'crashing' })
  await expect(runPod(node, 'crashes')).rejects.toThrow(
    `plugin "crashing" of ${plugins}/crashing.mjs: an uncaught exception: boom`,
  )
  use({ type: 'broken' })
  await expect(runPod(node, 'breaks')).rejects.toThrow(`not loaded: ${plugins}/broken.ts: SyntaxError`)
  expect(machine.log()).toContain('a CNI plugin cannot be loaded')
  use(overlayOf(0))
  expect((await runPod(node, 'works')).ip).toMatch(/^10\.43\.1\./)
})
