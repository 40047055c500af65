// A daemon in folders, a network and a cgroup of its own, which dies where it is told to.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defaultNetwork } from '@nodelet/cni-plugins'
import { ContainerConfig, createCriClient, ImageSpec, NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import type { ContainerStatus, CriClient, DeepPartial, RuntimeService } from '@nodelet/cri-api'
import { pinNamespaces, unmountIfMounted, unpinNamespace } from '@nodelet/linux'
import { expect } from 'vitest'
import type { RuntimeOptions } from '../../src/index.ts'
import { cgroupFolders } from '../fixture.ts'
import { startRegistry } from '../registry.ts'
import type { TestRegistry } from '../registry.ts'
import { busybox } from '../runtime-fixture.ts'
import { linksGoing, machineState } from './machine.ts'

type Options = Partial<Omit<RuntimeOptions, 'cni' | 'images' | 'streaming' | 'onProblem'>>

export interface Daemon extends AsyncDisposable {
  folder: string
  cgroup: string
  image: string
  registry: TestRegistry
  client: CriClient
  runtime: RuntimeService
  /** What it complained of, in all its lives. */
  problems: string[]
  start(options?: Options): Promise<void>
  kill(): Promise<void>
  /** Pulls the image of the tests. */
  pull(): Promise<void>
  /** Runs a call during which the daemon dies at the point, and starts the daemon again. */
  dieAt(point: string, call: () => Promise<unknown>, whileDead?: () => void | Promise<void>): Promise<void>
  /** Everything that could leak, once the kernel has taken away what is on its way out. */
  state(): Promise<string[]>
  /** Waits until the machine is as before. */
  expectState(before: readonly string[]): Promise<void>
  runPod(config?: DeepPartial<PodSandboxConfig>): Promise<string>
  podConfig(config?: DeepPartial<PodSandboxConfig>): PodSandboxConfig
  container(script: string, config?: DeepPartial<ContainerConfig>): ContainerConfig
  create(podSandboxId: string, script: string, config?: DeepPartial<ContainerConfig>): Promise<string>
  run(podSandboxId: string, script: string, config?: DeepPartial<ContainerConfig>): Promise<string>
  status(containerId: string): Promise<ContainerStatus | undefined>
  exec(containerId: string, script: string): Promise<string>
  /** What it has logged; empty while there is no file. */
  log(containerId: string): Promise<string>
  /** Takes note of a container whose making was not answered. */
  adopt(containerId: string, logPath: string): void
  /** The number of its first process. */
  initOf(containerId: string): number
}

let count = 0

/** `prepare` is given the folder before the daemon's first start. */
export async function makeDaemon(
  defaults: Options = {},
  prepare?: (folder: string, undo: AsyncDisposableStack) => void,
): Promise<Daemon> {
  await using undo = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'nc-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  const cache = mkdtempSync(join(tmpdir(), 'nc-cache-'))
  undo.defer(() => rmSync(cache, { recursive: true }))
  const cgroup = `/nodelet-crash-${process.pid}-${count++}`
  undo.defer(() => cgroupFolders(cgroup).forEach((path) => rmdirSync(path)))
  undo.defer(() => void unmountIfMounted(join(folder, 'run/ns')))
  const host = join(folder, 'host-net')
  mkdirSync(join(folder, 'net.d'))
  mkdirSync(join(folder, 'logs'))
  prepare?.(folder, undo)
  pinNamespaces({ paths: { net: host } })
  undo.defer(() => unpinNamespace(host))
  const list = defaultNetwork({ name: 'pods', bridge: 'cni0', subnets: ['10.88.0.0/16'] })
  writeFileSync(join(folder, 'net.d/10-pods.conflist'), JSON.stringify(list))
  const registry = undo.use(await startRegistry())
  const image = `${registry.host}/apps/busybox:1`
  await registry.push('apps/busybox:1', await busybox())

  let child: ChildProcess | undefined
  const problems: string[] = []
  const paths = new Map<string, string>()
  const heard = async (wanted: string): Promise<void> => {
    const process = child
    const done = Promise.withResolvers<void>()
    const onMessage = (message: unknown): void => {
      if (message === wanted) done.resolve()
    }
    const onExit = (code: number | null): void =>
      done.reject(new Error(`the daemon ended (${code}) before "${wanted}"`))
    process?.on('message', onMessage).once('exit', onExit)
    try {
      await done.promise
    } finally {
      process?.off('message', onMessage).off('exit', onExit)
    }
  }
  const start = async (options: Options = {}): Promise<void> => {
    child = fork(join(import.meta.dirname, 'daemon.ts'), {
      execArgv: ['--conditions=@nodelet/source'],
      env: {
        ...process.env,
        NODE_COMPILE_CACHE: cache,
        DAEMON: JSON.stringify({ folder, cgroupParentDefault: cgroup, ...defaults, ...options }),
      },
    })
    child.on('message', (message: { problem?: string }) => {
      if (message.problem !== undefined) problems.push(message.problem)
    })
    await heard('ready')
  }
  const kill = async (): Promise<void> => {
    const process = child
    child = undefined
    if (process?.exitCode !== null || process.signalCode !== null) return
    process.kill('SIGKILL')
    await once(process, 'exit')
  }
  undo.defer(kill)
  const client = undo.use(createCriClient(`unix://${join(folder, 'cri.sock')}`, { timeout: 60_000 }))
  const { runtimeService: runtime, imageService } = client
  await start()
  const pull = async (): Promise<void> => {
    const spec = ImageSpec.fromPartial({ image })
    await imageService.pullImage({ image: spec, auth: undefined, sandboxConfig: undefined })
  }
  await pull()
  const namespaceOptions = { pid: NamespaceMode.CONTAINER }
  const state = async (): Promise<string[]> => machineState(folder, cgroup)
  const done = undo.move()
  const daemon: Daemon = {
    folder,
    cgroup,
    image,
    registry,
    client,
    runtime,
    problems,
    start,
    kill,
    pull,
    state: async () => {
      await expect.poll(async () => linksGoing(folder), { interval: 10 }).toEqual([])
      return state()
    },
    dieAt: async (point, call, whileDead) => {
      const [process] = [child]
      const armed = heard('armed')
      process?.send({ arm: point })
      await armed
      const died = once(process as ChildProcess, 'exit')
      const answer = call().then(
        () => new Error(`the call ended without passing ${point}`),
        () => undefined,
      )
      const early = await Promise.race([died.then(() => undefined), answer])
      if (early) {
        process?.send({ arm: null })
        throw early
      }
      expect((await died)[1]).toBe('SIGKILL')
      await answer
      await whileDead?.()
      await start()
    },
    expectState: async (before) => {
      const missing = (now: string[]): string[] =>
        before.filter((line) => !now.includes(line)).map((line) => `- ${line}`)
      const extra = (now: string[]): string[] => now.filter((line) => !before.includes(line)).map((line) => `+ ${line}`)
      await expect
        .poll(
          async () => {
            const now = await state()
            return [...missing(now), ...extra(now)]
          },
          { interval: 50 },
        )
        .toEqual([])
    },
    podConfig: (config = {}) =>
      PodSandboxConfig.fromPartial({
        metadata: { name: `pod${count++}`, namespace: 'default', uid: `uid-${count}` },
        logDirectory: join(folder, 'logs'),
        ...config,
        linux: { securityContext: { namespaceOptions }, ...config.linux },
      }),
    runPod: async (config = {}) =>
      (await runtime.runPodSandbox({ config: daemon.podConfig(config), runtimeHandler: '' })).podSandboxId,
    container: (script, config = {}) =>
      ContainerConfig.fromPartial({
        metadata: { name: `c${count++}` },
        image: ImageSpec.fromPartial({ image }),
        command: ['/bin/sh', '-c', script],
        logPath: `c${count}.log`,
        ...config,
        linux: { securityContext: { namespaceOptions }, ...config.linux },
      }),
    create: async (podSandboxId, script, config) => {
      const request = { podSandboxId, config: daemon.container(script, config), sandboxConfig: undefined }
      const { containerId } = await runtime.createContainer(request)
      paths.set(containerId, join(folder, 'logs', request.config.logPath))
      return containerId
    },
    run: async (podSandboxId, script, config) => {
      const containerId = await daemon.create(podSandboxId, script, config)
      await runtime.startContainer({ containerId })
      return containerId
    },
    status: async (containerId) => (await runtime.containerStatus({ containerId, verbose: false })).status,
    log: async (containerId) => {
      const path = paths.get(containerId) ?? ''
      return existsSync(path) ? readFileSync(path, 'utf8') : ''
    },
    adopt: (containerId, logPath) => void paths.set(containerId, logPath),
    initOf: (containerId) => Number(readFileSync(join(folder, 'run/bundles', containerId, 'pidfile'), 'utf8')),
    exec: async (containerId, script) => {
      const cmd = ['/bin/sh', '-c', script]
      const { stdout } = await runtime.execSync({ containerId, cmd, timeout: 20n })
      return Buffer.from(stdout).toString().trim()
    },
    [Symbol.asyncDispose]: async () => {
      // A daemon that is dead has to take away what is there.
      if (!child || child.exitCode !== null || child.signalCode !== null) await start()
      for (const { id } of (await runtime.listPodSandbox({ filter: undefined })).items) {
        await runtime.removePodSandbox({ podSandboxId: id })
      }
      await done.disposeAsync()
    },
  }
  return daemon
}
