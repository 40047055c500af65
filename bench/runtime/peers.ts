// The runtimes that are compared, each a child of this process in folders of its own.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { createCriClient } from '@nodelet/cri-api'
import type { CriClient } from '@nodelet/cri-api'
import { defaultNetwork } from '@nodelet/cni-plugins'
import { helpersOf } from './processes.ts'

export interface Peer extends AsyncDisposable {
  name: string
  pid: number
  client: CriClient
  handler: string
  /** Another handler of a daemon whose pulls, lists and memory are measured already. */
  isVariant?: boolean
  /** What the first is compared with. */
  isReference?: boolean
  /** The processes that it keeps for its pods. */
  helpers(): number[]
  /** How late its event loop came since this was asked before, in milliseconds. */
  loopDelay?(): Promise<Record<string, number> | undefined>
}

interface Place {
  folder: string
  /** On a tmpfs, short. */
  run: string
  /** The second number of the pods' addresses, and of the bridge's name. */
  subnet: number
}

function writeNetwork({ folder, subnet }: Place): string {
  const confDir = join(folder, 'net.d')
  mkdirSync(confDir, { recursive: true })
  const list = defaultNetwork({ name: `bench${subnet}`, bridge: `bench${subnet}`, subnets: [`10.${subnet}.0.0/16`] })
  writeFileSync(join(confDir, '10-bench.conflist'), JSON.stringify(list))
  return confDir
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

const ours = resolve(import.meta.dirname, '../../packages/runtime-runc')
const isBuilt = existsSync(join(ours, 'dist/command/cli.js'))
const sources = [process.execPath, '--conditions=@nodelet/source', join(ours, 'src/command/cli.ts')]

/** As it is installed, when there is a build; else, or when asked for, from its sources, which costs it memory. */
export async function startNodelet(place: Place, { fromSources = !isBuilt } = {}): Promise<Peer> {
  const command = fromSources ? sources : [join(ours, 'bin/nodelet-runtime.js')]
  const { folder, run } = place
  const confDir = writeNetwork(place)
  const socket = join(run, 'runtime.sock')
  const config = join(folder, 'runtime.json')
  writeFileSync(config, JSON.stringify({ handlers: { runc: {}, ...(hasCrun() ? { crun: {} } : {}) } }))
  const flags = [
    '--config',
    config,
    '--root',
    join(folder, 'root'),
    '--run',
    run,
    '--listen',
    socket,
    '--cni-conf-dir',
    confDir,
  ]
  const [program = '', ...args] = command
  const child = spawn(program, [...args, ...flags], {
    stdio: ['ignore', 'inherit', 'pipe'],
    detached: true,
  })
  const lines = createInterface(child.stderr)
  const told = async (message: string): Promise<Record<string, unknown>> => {
    for (;;) {
      const [line] = (await Promise.race([once(lines, 'line'), once(lines, 'close')])) as [string?]
      if (line === undefined) throw new Error(`nodelet-runtime ended while ${message} was waited for`)
      if (!line.startsWith('{')) throw new Error(line)
      const entry = JSON.parse(line) as { level: number; msg: string }
      if (entry.level > 30) console.error(line)
      if (entry.msg === message) return entry as unknown as Record<string, unknown>
    }
  }
  lines.on('line', (line) => process.env.NODELET_BENCH_LOG && console.error(line))
  await told('serving')
  const client = createCriClient(`unix://${socket}`)
  return {
    name: fromSources ? 'nodelet (sources)' : 'nodelet',
    pid: child.pid ?? 0,
    client,
    handler: '',
    helpers: () => helpersOf(run, 'conmon'),
    loopDelay: async () => {
      const answer = told('diagnosis')
      child.kill('SIGUSR2')
      return (await answer)['loopDelayMs'] as Record<string, number> | undefined
    },
    [Symbol.asyncDispose]: async () => {
      client.close()
      await ended(child)
    },
  }
}

export const hasCrun = (): boolean => existsSync('/usr/bin/crun')

/** The same daemon with its other OCI runtime. */
export const withCrun = (peer: Peer): Peer => ({ ...peer, name: 'with crun', handler: 'crun', isVariant: true })

/** Installed, or unpacked by the set-up of tests. */
const containerdProgram = [
  '/usr/bin/containerd',
  join(import.meta.dirname, '../../.nodelet/debian/containerd/usr/bin/containerd'),
].find(existsSync)
export const hasContainerd = (): boolean => containerdProgram !== undefined && existsSync('/usr/lib/cni/bridge')

export async function startContainerd(place: Place, pauseImage: string): Promise<Peer> {
  const { folder, run } = place
  if (containerdProgram === undefined) throw new Error('containerd is not here')
  const confDir = writeNetwork(place)
  const socket = join(run, 'containerd.sock')
  mkdirSync(run, { recursive: true })
  const cri = 'plugins."io.containerd.grpc.v1.cri"'
  const config = `version = 2
root = "${folder}/root"
state = "${run}/state"
disabled_plugins = [${['aufs', 'btrfs', 'devmapper', 'native', 'zfs'].map((name) => `"io.containerd.snapshotter.v1.${name}"`).join(', ')}]
[grpc]
  address = "${socket}"
[${cri}]
  sandbox_image = "${pauseImage}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[${cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "${confDir}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folder}/opt"
`
  const file = join(folder, 'config.toml')
  writeFileSync(file, config)
  const log = join(folder, 'containerd.log')
  const child = spawn('sh', ['-c', 'exec "$0" "$@" 2>"$LOG"', containerdProgram, '--config', file], {
    stdio: 'ignore',
    detached: true, // Ctrl-C is for this process, which still needs it to clean up
    // Its shim is beside it.
    env: { ...process.env, LOG: log, PATH: `${dirname(containerdProgram)}:${process.env.PATH}` },
  })
  const client = createCriClient(`unix://${socket}`)
  for (let tries = 0; ; tries += 1) {
    const { status } = await client.runtimeService.status({ verbose: false }).catch(() => ({ status: undefined }))
    if (status?.conditions.every((condition) => condition.status)) break
    if (tries > 100 || child.exitCode !== null) {
      throw new Error(`containerd is not ready: ${JSON.stringify(status)}\n${readFileSync(log, 'utf8').slice(-2000)}`)
    }
    await new Promise((done) => setTimeout(done, 100))
  }
  const { runtimeVersion } = await client.runtimeService.version({ version: '' })
  return {
    name: `containerd ${/^[\d.]+\d/.exec(runtimeVersion)?.[0] ?? runtimeVersion}`,
    pid: child.pid ?? 0,
    client,
    handler: '',
    isReference: true,
    helpers: () => helpersOf(run, 'containerd-shim-runc-v2'),
    [Symbol.asyncDispose]: async () => {
      client.close()
      for (const pid of helpersOf(run, 'containerd-shim-runc-v2')) process.kill(pid, 'SIGKILL')
      await ended(child)
    },
  }
}
