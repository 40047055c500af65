// A rootfs of busybox, folders and a cgroup of its own, and nothing left behind.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ContainerConfig, NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import type { DeepPartial } from '@nodelet/cri-api'
import type { ContainerEvent, ContainersOptions, CreateOptions } from '../src/index.ts'
import { openContainers } from '../src/index.ts'
import type { Containers } from '../src/index.ts'

export type Config = DeepPartial<ContainerConfig>

export interface Fixture {
  folder: string
  rootfs: string
  cgroupParent: string
  containers: Containers
  events: ContainerEvent[]
  problems: Error[]
  /** Options for a container that runs `script` in a shell. */
  options(script: string, config?: Config): CreateOptions
  /** Closes and opens again, as an agent's restart. */
  reopen(): Promise<void>
  logLines(path?: string): string[]
}

let count = 0

export async function makeFixture(overrides: Partial<ContainersOptions> = {}): Promise<Fixture & AsyncDisposable> {
  const folder = mkdtempSync(join(tmpdir(), 'nr-'))
  const rootfs = join(folder, 'rootfs')
  const cgroupParent = `/nodelet-test-${process.pid}`
  for (const path of ['bin', 'etc', 'proc', 'dev', 'sys', 'tmp']) mkdirSync(join(rootfs, path), { recursive: true })
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'))
  for (const name of ['sh', 'sleep', 'cat', 'id', 'env', 'ls', 'kill'])
    symlinkSync('busybox', join(rootfs, 'bin', name))
  writeFileSync(join(rootfs, 'etc/passwd'), 'root:x:0:0::/:\nweb:x:1000:1001::/:\n')
  const open = (): Promise<Containers> =>
    openContainers({
      stateDir: join(folder, 'state'),
      runDir: join(folder, 'run'),
      onEvent: (event) => fixture.events.push(event),
      onProblem: (error) => fixture.problems.push(error),
      ...overrides,
    })
  const fixture: Fixture = {
    folder,
    rootfs,
    cgroupParent,
    events: [],
    problems: [],
    containers: undefined as unknown as Containers,
    options: (script, config = {}) => makeOptions(fixture, script, config),
    reopen: async () => {
      await fixture.containers[Symbol.asyncDispose]()
      fixture.containers = await open()
    },
    logLines: (path = '0.log') =>
      readFileSync(join(folder, 'logs', path), 'utf8')
        .split('\n')
        .slice(0, -1),
  }
  fixture.containers = await open()
  return {
    ...fixture,
    get containers() {
      return fixture.containers
    },
    [Symbol.asyncDispose]: async () => {
      for (const { id } of fixture.containers.list()) await fixture.containers.remove(id)
      await fixture.containers[Symbol.asyncDispose]()
      for (const path of cgroupFolders(cgroupParent)) rmdirSync(path)
      rmSync(folder, { recursive: true })
    },
  }
}

/** The host's network and IPC, and a PID namespace of its own: no pinned namespaces are needed. */
function makeOptions({ folder, rootfs, cgroupParent }: Fixture, script: string, config: Config): CreateOptions {
  const { NODE, CONTAINER } = NamespaceMode
  const securityContext = {
    namespaceOptions: { network: NODE, ipc: NODE, pid: CONTAINER },
    ...config.linux?.securityContext,
  }
  return {
    config: ContainerConfig.fromPartial({
      metadata: { name: `c${count++}`, attempt: 0 },
      command: ['/bin/sh', '-c', script],
      logPath: '0.log',
      ...config,
      linux: { ...config.linux, securityContext },
    }),
    sandboxConfig: PodSandboxConfig.fromPartial({
      metadata: { name: 'pod', namespace: 'default', uid: 'u' },
      logDirectory: join(folder, 'logs'),
      linux: { cgroupParent },
    }),
    sandbox: { id: 'sandbox', hostname: 'pod' },
    image: {},
    imageName: 'busybox',
    rootfs,
  }
}

/** The folders of a cgroup in all hierarchies. */
export function cgroupFolders(cgroup: string): string[] {
  const base = '/sys/fs/cgroup'
  const roots = existsSync(join(base, 'cgroup.controllers'))
    ? [base]
    : readdirSync(base).map((name) => join(base, name))
  return roots.map((root) => join(root, cgroup)).filter((path) => existsSync(path))
}

export async function until(done: () => boolean, what: string, ms = 5000): Promise<void> {
  for (const deadline = Date.now() + ms; !done();) {
    if (Date.now() > deadline) throw new Error(`timed out: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
