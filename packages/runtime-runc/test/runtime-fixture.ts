// A whole runtime in folders, a network and a cgroup of its own, with a busybox image, and nothing left behind.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCni, defaultNetwork } from '@nodelet/cni-plugins'
import type { Cni } from '@nodelet/cni-plugins'
import { ContainerConfig, ImageSpec, NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import type { DeepPartial } from '@nodelet/cri-api'
import { pinNamespaces, unmountIfMounted, unpinNamespace } from '@nodelet/linux'
import { openImages, openRuntime } from '../src/index.ts'
import type { Images, Runtime, RuntimeOptions } from '../src/index.ts'
import { cgroupFolders } from './fixture.ts'
import { makeImage, startRegistry } from './registry.ts'
import type { TarEntry, TestImage, TestRegistry } from './registry.ts'

export interface RuntimeFixture {
  folder: string
  runDir: string
  registry: TestRegistry
  /** A reference of the busybox image in the registry. */
  image: string
  cni: Cni
  images: Images
  runtime: Runtime
  problems: Error[]
  /** Below it are all cgroups of the test. */
  cgroup: string
  /** Closes and opens again, as a restart; `between` happens while nothing runs. */
  reopen(between?: () => void): Promise<void>
  /** A sandbox's configuration with a name of its own. */
  pod(config?: DeepPartial<PodSandboxConfig>): PodSandboxConfig
  /** A container's, which runs a script in a shell and has a PID namespace of its own. */
  container(name: string, script: string, config?: DeepPartial<ContainerConfig>): ContainerConfig
}

let count = 0

export async function makeRuntime(overrides: Partial<RuntimeOptions> = {}): Promise<RuntimeFixture & AsyncDisposable> {
  await using undo = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'nr-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  const runDir = join(folder, 'run')
  const cgroup = `/nodelet-test-${process.pid}-${count++}`
  const host = join(folder, 'host-net')
  const confDir = join(folder, 'net.d')
  mkdirSync(confDir)
  pinNamespaces({ paths: { net: host } })
  undo.defer(() => unpinNamespace(host))
  undo.defer(() => cgroupFolders(cgroup).forEach((path) => rmdirSync(path)))
  undo.defer(() => void unmountIfMounted(join(runDir, 'ns')))
  const list = defaultNetwork({ name: 'pods', bridge: 'cni0', subnets: ['10.88.0.0/16'] })
  writeFileSync(join(confDir, '10-pods.conflist'), JSON.stringify(list))
  const cni = undo.use(createCni({ confDir, binDirs: [], cacheDir: join(folder, 'cni'), hostNetns: host }))
  const registry = undo.use(await startRegistry())
  const image = `${registry.host}/apps/busybox:1`
  await registry.push('apps/busybox:1', await busybox())
  const images = undo.use(await openImages({ root: join(folder, 'images') }))
  await images.pull(image)
  const open = (): Promise<Runtime> =>
    openRuntime({
      stateDir: join(folder, 'state'),
      runDir,
      cni,
      images,
      cgroupParentDefault: cgroup,
      onProblem: (error) => fixture.problems.push(error),
      ...overrides,
    })
  const fixture: RuntimeFixture = {
    folder,
    runDir,
    registry,
    image,
    cni,
    images,
    problems: [],
    cgroup,
    runtime: await open(),
    reopen: async (between) => {
      await fixture.runtime[Symbol.asyncDispose]()
      between?.()
      fixture.runtime = await open()
    },
    pod: (config = {}) =>
      PodSandboxConfig.fromPartial({
        metadata: { name: `pod${count++}`, namespace: 'default', uid: `uid-${count}` },
        logDirectory: join(folder, 'logs'),
        ...config,
        linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } }, ...config.linux },
      }),
    container: (name, script, config = {}) =>
      ContainerConfig.fromPartial({
        metadata: { name },
        image: ImageSpec.fromPartial({ image }),
        command: ['/bin/sh', '-c', script],
        logPath: `${name}.log`,
        ...config,
        linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } }, ...config.linux },
      }),
  }
  const done = undo.move()
  const dispose = async (): Promise<void> => {
    const { runtimeService } = fixture.runtime
    const filter = { filter: undefined }
    for (const { id } of (await runtimeService.listPodSandbox(filter)).items) {
      await runtimeService.removePodSandbox({ podSandboxId: id })
    }
    await fixture.runtime[Symbol.asyncDispose]()
    await done.disposeAsync()
  }
  return {
    ...fixture,
    get runtime() {
      return fixture.runtime
    },
    [Symbol.asyncDispose]: dispose,
  }
}

/** A layer with a shell and what tests run in it. */
export function busyboxFiles(): TarEntry[] {
  const folders = ['bin/', 'etc/', 'tmp/'].map((name) => ({ name, type: 'directory' as const, mode: 0o755 }))
  const links = [
    'sh',
    'sleep',
    'cat',
    'id',
    'ls',
    'kill',
    'ps',
    'ip',
    'hostname',
    'ping',
    'wget',
    'nc',
    'mount',
    'touch',
  ]
  return [
    ...folders,
    { name: 'bin/busybox', mode: 0o755, content: readFileSync('/bin/busybox') },
    ...links.map((name) => ({ name: `bin/${name}`, type: 'symlink' as const, linkname: 'busybox' })),
    { name: 'etc/passwd', content: 'root:x:0:0::/:\nweb:x:1000:1001::/:\n' },
    { name: 'data/', type: 'directory', mode: 0o755 },
    { name: 'data/seed', content: 'from the image' },
  ]
}

export async function busybox(): Promise<TestImage> {
  const config = { Env: ['FROM=image'], Volumes: { '/data': {} }, Cmd: ['/bin/sleep', '600'] }
  return makeImage([busyboxFiles()], config)
}

/** Names below the state and run folders that belong to sandboxes and containers. */
export function leftovers({ folder, runDir }: Pick<RuntimeFixture, 'folder' | 'runDir'>): string[] {
  const places = [
    ...['state/sandboxes', 'state/containers', 'images/rootfs'].map((path) => join(folder, path)),
    ...['ns', 'pods', 'bundles', 'exits', 's', 'runc'].map((path) => join(runDir, path)),
  ]
  return places.flatMap((place) => (existsSync(place) ? readdirSync(place).map((name) => join(place, name)) : []))
}
