// The command `nodelet-runtime`, in a network of its own, spoken to over its socket.
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { defaultNetwork } from '@nodelet/cni-plugins'
import { ContainerConfig, ContainerState, createCriClient, ImageSpec, PodSandboxConfig } from '@nodelet/cri-api'
import type { CriClient } from '@nodelet/cri-api'
import { unmountIfMounted } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openImages } from '../src/index.ts'
import { cgroupFolders, until } from './fixture.ts'
import { writeLayout } from './layout.ts'
import { busybox } from './runtime-fixture.ts'

const image = 'example.com/busybox:1'
const source = resolve(import.meta.dirname, '../src/command/cli.ts')

interface Daemon {
  process: ChildProcess
  /** Its log, line by line. */
  log: string[]
  /** Fulfilled by the first line that matches. */
  told(wanted: RegExp): Promise<string>
  /** Fulfilled when the process and its streams have ended. */
  ended: Promise<number | null>
}

let folder: string
let cgroup: string
let undo: AsyncDisposableStack
let socket: string

beforeEach(async () => {
  undo = new AsyncDisposableStack()
  folder = mkdtempSync(join(tmpdir(), 'nrd-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  undo.defer(() => void unmountIfMounted(join(folder, 'run/ns')))
  cgroup = `/nodelet-test-${process.pid}-daemon`
  undo.defer(() => cgroupFolders(cgroup).forEach((path) => rmdirSync(path)))
  socket = join(folder, 'runtime.sock')
  mkdirSync(join(folder, 'net.d'))
  const list = defaultNetwork({ name: 'pods', bridge: 'cni0', subnets: ['10.88.0.0/16'] })
  writeFileSync(join(folder, 'net.d/10-pods.conflist'), JSON.stringify(list))
  writeFileSync(join(folder, 'config.yaml'), `root: ${folder}/root\nrun: ${folder}/run\ncgroupParent: ${cgroup}\n`)
  writeLayout(join(folder, 'layout'), await busybox(), image)
  await using images = await openImages({ root: join(folder, 'root/images') })
  await images.importArchive(join(folder, 'layout'), { reference: image })
})
afterEach(async () => undo.disposeAsync())

/** Networks of pods are below a namespace of the daemon's own, which it keeps from one life to the next. */
async function makeNetns(): Promise<number> {
  const keeper = spawn('unshare', ['-n', 'sh', '-c', 'ip link set lo up; echo up; exec sleep 1000'])
  undo.defer(() => void keeper.kill('SIGKILL'))
  await once(keeper.stdout, 'data')
  const netns = keeper.pid ?? 0
  undo.defer(async () => removePods(netns))
  return netns
}

/** What a test that failed half-way left. */
async function removePods(netns: number): Promise<void> {
  const sandboxes = join(folder, 'root/runtime/sandboxes')
  if (!existsSync(sandboxes) || readdirSync(sandboxes).length === 0) return
  await start(netns).told(/"serving"/)
  await using client = createCriClient(`unix://${socket}`)
  for (const { id } of (await client.runtimeService.listPodSandbox({ filter: undefined })).items) {
    await client.runtimeService.removePodSandbox({ podSandboxId: id })
  }
}

function start(netns: number, flags: string[] = [], env: NodeJS.ProcessEnv = {}): Daemon {
  const command = [process.execPath, '--conditions=@nodelet/source', source]
  const config = ['--config', join(folder, 'config.yaml'), '--cni-conf-dir', join(folder, 'net.d')]
  const args = [`--net=/proc/${netns}/ns/net`, ...command, ...config, '--listen', `unix://${socket}`, ...flags]
  const child = spawn('nsenter', args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } })
  const log: string[] = []
  const lines = createInterface(child.stderr).on('line', (line) => log.push(line))
  const ended = once(child, 'close').then(([code]: (number | null)[]) => code ?? null)
  undo.defer(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const told = async (wanted: RegExp): Promise<string> => {
    for (;;) {
      const found = log.find((line) => wanted.test(line))
      if (found !== undefined) return found
      const over = await Promise.race([once(lines, 'line').then(() => false), ended.then(() => true)])
      if (over && !log.some((line) => wanted.test(line))) throw new Error(`ended without ${wanted}: ${log.join('\n')}`)
    }
  }
  return { process: child, log, told, ended }
}

async function runPod({ runtimeService }: CriClient): Promise<{ pod: string; id: string }> {
  const sandboxConfig = PodSandboxConfig.fromPartial({
    metadata: { name: 'web', namespace: 'default', uid: 'u' },
    logDirectory: join(folder, 'logs'),
  })
  const { podSandboxId } = await runtimeService.runPodSandbox({ config: sandboxConfig, runtimeHandler: '' })
  const config = ContainerConfig.fromPartial({
    metadata: { name: 'main' },
    image: ImageSpec.fromPartial({ image }),
    command: ['/bin/sh', '-c', 'sleep 600'],
    logPath: 'main.log',
  })
  const { containerId } = await runtimeService.createContainer({ podSandboxId, config, sandboxConfig })
  await runtimeService.startContainer({ containerId })
  return { pod: podSandboxId, id: containerId }
}

test('serves until SIGTERM; containers outlive it, kill -9 too', async () => {
  const netns = await makeNetns()
  const first = start(netns, ['--stream-address', '127.0.0.1', '--stream-port', '10010'])
  const serving = JSON.parse(await first.told(/"serving"/)) as object
  expect(serving).toMatchObject({ listen: socket, pid: first.process.pid, msg: 'serving' })
  expect(statSync(socket).mode & 0o777).toBe(0o660)
  await using client = createCriClient(`unix://${socket}`)
  const { runtimeService } = client
  const { status } = await runtimeService.status({ verbose: false })
  expect(status?.conditions.map(({ type, status: ready }) => [type, ready])).toEqual([
    ['RuntimeReady', true],
    ['NetworkReady', true],
  ])
  const { pod, id } = await runPod(client)
  const startedAt = async (): Promise<bigint | undefined> => {
    const { status: shown } = await runtimeService.containerStatus({ containerId: id, verbose: false })
    expect(shown?.state).toBe(ContainerState.CONTAINER_RUNNING)
    return shown?.startedAt
  }
  const since = await startedAt()
  const asked = { containerId: id, cmd: ['ls'], tty: false, stdin: false, stdout: true, stderr: true }
  expect((await runtimeService.exec(asked)).url).toMatch(/^http:\/\/127\.0\.0\.1:10010\/exec\/./)
  first.process.kill('SIGTERM')
  expect(await first.ended).toBe(0)
  expect(existsSync(socket)).toBe(false)

  const second = start(netns)
  await second.told(/"serving"/)
  expect(await startedAt()).toBe(since)
  second.process.kill('SIGKILL')
  await second.ended
  expect(existsSync(socket)).toBe(true) // dead, and replaced by the next

  const third = start(netns)
  await third.told(/"serving"/)
  expect(await startedAt()).toBe(since)
  const answer = await runtimeService.execSync({ containerId: id, cmd: ['/bin/cat', '/data/seed'], timeout: 10n })
  expect(Buffer.from(answer.stdout).toString()).toBe('from the image')
  await runtimeService.removePodSandbox({ podSandboxId: pod })
  third.process.kill('SIGTERM')
  expect(await third.ended).toBe(0)
  expect(readdirSync(join(folder, 'run/bundles'))).toEqual([])
  expect(third.log.filter((line) => !/"msg":"(serving|stopping)/.test(line))).toEqual([])
})

test('a second one is refused: on the same socket, on the same state', async () => {
  const netns = await makeNetns()
  const first = start(netns)
  await first.told(/"serving"/)
  const sameSocket = start(netns, ['--root', join(folder, 'root2'), '--run', join(folder, 'run2')])
  expect(await sameSocket.ended).toBe(1)
  expect(sameSocket.log.join('\n')).toMatch(/^✗ cannot listen on .*runtime\.sock: another runtime serves it/)
  const other = join(folder, 'other.sock')
  const sameState = start(netns, ['--listen', other])
  expect(await sameState.ended).toBe(1)
  expect(sameState.log.join('\n')).toContain(`is in use by process ${first.process.pid}: stop it or use another folder`)
  expect(existsSync(other)).toBe(false)
  await using client = createCriClient(`unix://${socket}`)
  expect((await client.runtimeService.version({ version: '' })).runtimeName).toBe('nodelet')
})

test('what it cannot use is told before anything is made', async () => {
  const netns = await makeNetns()
  const wrong = start(netns, ['--root', 'here'])
  expect(await wrong.ended).toBe(1)
  expect(wrong.log).toEqual([
    `✗ ${join(folder, 'config.yaml')} and flags:`,
    '  root: must be an absolute path, is "here"',
    '→ nodelet-runtime --help tells what there is',
  ])
  const file = join(folder, 'a-file')
  writeFileSync(file, '')
  const blocked = start(netns, ['--listen', file])
  expect(await blocked.ended).toBe(1)
  expect(blocked.log.join('\n')).toMatch(/a file that is not a socket is there; remove it or choose another path/)
})

test('the service manager hears of it, and SIGUSR2 tells what it costs', async () => {
  const netns = await makeNetns()
  const notify = join(folder, 'notify.sock')
  const script = `import socket,sys
s=socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1]); print('bound', flush=True)
while True: print(s.recv(100).decode(), flush=True)`
  const manager = spawn('python3', ['-c', script, notify], { stdio: ['ignore', 'pipe', 'inherit'] })
  undo.defer(() => void manager.kill('SIGKILL'))
  const heard = createInterface(manager.stdout)[Symbol.asyncIterator]()
  await heard.next()
  const daemon = start(netns, [], { NOTIFY_SOCKET: notify })
  expect((await heard.next()).value).toBe('READY=1')
  daemon.process.kill('SIGUSR2')
  await daemon.told(/"diagnosis"/)
  daemon.process.kill('SIGUSR2')
  const line = JSON.parse(await daemon.told(/loopDelayMs/)) as object
  expect(line).toMatchObject({ rss: expect.any(Number), loopDelayMs: { p99: expect.any(Number) } })
  daemon.process.kill('SIGTERM')
  expect((await heard.next()).value).toBe('STOPPING=1')
  expect(await daemon.ended).toBe(0)
})

test('until recovery is done it says who it is and that it is not ready', async () => {
  const netns = await makeNetns()
  const gate = join(folder, 'gate')
  mkdirSync(join(folder, 'bin'))
  const real = execFileSync('sh', ['-c', 'command -v runc'], { encoding: 'utf8' }).trim()
  const script = `#!/bin/sh\nuntil [ -e ${gate} ]; do sleep 0.05; done\nexec ${real} "$@"\n`
  writeFileSync(join(folder, 'bin/runc'), script, { mode: 0o755 })
  const daemon = start(netns, [], { PATH: `${join(folder, 'bin')}:${process.env['PATH']}` })
  await using client = createCriClient(`unix://${socket}`, { timeout: 5000 })
  const { runtimeService, imageService } = client
  await until(() => existsSync(socket), 'the socket')
  expect(await runtimeService.version({ version: '' })).toMatchObject({
    runtimeName: 'nodelet',
    runtimeApiVersion: 'v1',
  })
  const conditions = async (): Promise<unknown> =>
    (await runtimeService.status({ verbose: false })).status?.conditions.map(({ type, status, reason }) => ({
      type,
      status,
      reason,
    }))
  expect(await conditions()).toEqual([
    { type: 'RuntimeReady', status: false, reason: 'RuntimeStarting' },
    { type: 'NetworkReady', status: false, reason: 'RuntimeStarting' },
  ])
  await expect(runtimeService.listPodSandbox({ filter: undefined })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  await expect(imageService.listImages({ filter: undefined })).rejects.toThrow(/the runtime is starting/)
  const events = runtimeService.getContainerEvents({})[Symbol.asyncIterator]()
  await expect(events.next()).rejects.toThrow(/the runtime is starting/)
  expect(daemon.log).toEqual([])
  writeFileSync(gate, 'open')
  await daemon.told(/"serving"/)
  expect(await conditions()).toEqual([
    { type: 'RuntimeReady', status: true, reason: '' },
    { type: 'NetworkReady', status: true, reason: '' },
  ])
  expect((await imageService.listImages({ filter: undefined })).images).toHaveLength(1)
})

test('CNI plugins of packages are found from the folder of the configuration, and harm nobody', async () => {
  const netns = await makeNetns()
  const plugin = (name: string, add: string): void => {
    const path = join(folder, 'node_modules', name)
    mkdirSync(path, { recursive: true })
    writeFileSync(join(path, 'package.json'), JSON.stringify({ name, type: 'module', exports: './plugin.js' }))
    writeFileSync(
      join(path, 'plugin.js'),
      `import { definePlugin } from '@nodelet/cni-plugins/sdk'
      const ask = (verb) => ({ request }, host, signal) =>
        host.plugin('bridge')[verb]({ ...request, config: { ...request.config, type: 'bridge' } }, host, signal)
      export const it = definePlugin({ name: '${name}', config: () => ({}), add: ${add}, del: ask('del') })`,
    )
  }
  plugin('mesh', "ask('add')")
  plugin('exiting', 'async () => process.exit(3)')
  const use = (type: string): void => {
    const ipam = { type: 'host-local', subnet: '10.88.0.0/16' }
    const list = { cniVersion: '1.1.0', name: 'pods', plugins: [{ type, bridge: 'cni0', isGateway: true, ipam }] }
    writeFileSync(join(folder, 'net.d/10-pods.conflist'), JSON.stringify(list))
  }
  const places = `root: ${folder}/root\nrun: ${folder}/run\ncgroupParent: ${cgroup}\n`
  const configure = (...packages: string[]): void =>
    writeFileSync(join(folder, 'config.yaml'), `${places}cni: { pluginPackages: [${packages.join()}] }\n`)
  configure('mesh', 'exiting', 'nowhere')
  use('mesh')
  const daemon = start(netns)
  await daemon.told(/"serving"/)
  await daemon.told(/nowhere: Cannot find package.*a CNI plugin cannot be loaded/)
  await using client = createCriClient(`unix://${socket}`)
  const { pod } = await runPod(client)
  const { status } = await client.runtimeService.podSandboxStatus({ podSandboxId: pod, verbose: false })
  expect(status?.network?.ip).toMatch(/^10\.88\./)
  await client.runtimeService.removePodSandbox({ podSandboxId: pod })
  use('exiting')
  await expect(runPod(client)).rejects.toThrow(
    'plugin "exiting" of exiting: its process ended itself with exit status 3',
  )
  use('mesh')
  const again = await runPod(client)
  await client.runtimeService.removePodSandbox({ podSandboxId: again.pod })
  daemon.process.kill('SIGTERM')
  expect(await daemon.ended).toBe(0)

  plugin('bridge', "ask('add')")
  configure('bridge')
  const clash = start(netns)
  expect(await clash.ended).toBe(1)
  expect(clash.log.join('\n')).toContain('two CNI plugins are called "bridge": the standard plugin and that of bridge')
}, 120_000)
