// A sandbox for checks, with short ways to run containers in it.
import { deepStrictEqual } from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  ContainerConfig,
  ContainerState,
  type ContainerStatus,
  type DeepPartial,
  ImageSpec,
  type LinuxContainerSecurityContext,
  PodSandboxConfig,
  type PodSandboxStatus,
} from '../gen/runtime.ts'
import { isNotFound } from '../errors.ts'
import { eventually, type ValidationRuntime } from './suite-checks.ts'

export interface CommandResult {
  exitCode: number
  stdout: string
  stderr: string
}

/** Leaving its scope removes it and its containers. */
export interface TestPod extends AsyncDisposable {
  id: string
  config: PodSandboxConfig
  status(): Promise<PodSandboxStatus>
  /** A container of busybox that sleeps, unless the configuration says otherwise. */
  create(config?: DeepPartial<ContainerConfig>): Promise<string>
  /** The same, started. */
  run(config?: DeepPartial<ContainerConfig>): Promise<string>
  /** The same with a security context and no more. */
  secure(context: DeepPartial<LinuxContainerSecurityContext>): Promise<string>
  /** Runs a script to its end. */
  script(script: string, config?: DeepPartial<ContainerConfig>): Promise<ContainerStatus>
  container(containerId: string): Promise<ContainerStatus>
  ended(containerId: string): Promise<ContainerStatus>
  /** The output of a command that succeeds and says nothing on stderr. */
  output(containerId: string, ...cmd: string[]): Promise<string>
  result(containerId: string, ...cmd: string[]): Promise<CommandResult>
  /** A log's lines without the time: `stdout F text`. */
  log(containerId: string): Promise<string[]>
}

export const sleeps: readonly string[] = ['/bin/sleep', '600']
const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

export const imageSpec = (image: string): ImageSpec => ImageSpec.fromPartial({ image })

export async function pull({ imageService }: ValidationRuntime, image: string): Promise<string> {
  const request = { image: imageSpec(image), auth: undefined, sandboxConfig: undefined }
  return (await imageService.pullImage(request)).imageRef
}

export function podConfig(runtime: ValidationRuntime, config: DeepPartial<PodSandboxConfig> = {}): PodSandboxConfig {
  const uid = randomUUID()
  return PodSandboxConfig.fromPartial({
    metadata: { name: `pod-${uid}`, namespace: 'validation', uid, attempt: 0 },
    logDirectory: join(runtime.folder, 'logs', uid),
    ...config,
    linux: { cgroupParent: runtime.cgroupParent, ...config.linux },
  })
}

export async function openPod(runtime: ValidationRuntime, given: DeepPartial<PodSandboxConfig> = {}): Promise<TestPod> {
  const { runtimeService, handler } = runtime
  const config = podConfig(runtime, given)
  await mkdir(config.logDirectory, { recursive: true })
  const { podSandboxId: id } = await runtimeService.runPodSandbox({ config, runtimeHandler: handler })
  const status = async (containerId: string): Promise<ContainerStatus> => {
    const answer = await runtimeService.containerStatus({ containerId, verbose: false })
    if (!answer.status) throw new Error(`no status in the answer for container ${containerId}`)
    return answer.status
  }
  const pod: TestPod = {
    id,
    config,
    async status() {
      const answer = await runtimeService.podSandboxStatus({ podSandboxId: id, verbose: false })
      if (!answer.status) throw new Error(`no status in the answer for sandbox ${id}`)
      return answer.status
    },
    async create(container = {}) {
      const name = `c-${randomUUID()}`
      const image = runtime.image('busybox:1')
      const whole = ContainerConfig.fromPartial({
        metadata: { name },
        image: { image },
        command: [...sleeps],
        logPath: `${name}.log`,
        linux: {},
        ...container,
      })
      await pull(runtime, whole.image?.image ?? image)
      const request = { podSandboxId: id, config: whole, sandboxConfig: config }
      return (await runtimeService.createContainer(request)).containerId
    },
    async run(container) {
      const containerId = await pod.create(container)
      await runtimeService.startContainer({ containerId })
      return containerId
    },
    secure: async (securityContext) => pod.run({ linux: { securityContext } }),
    async script(script, container = {}) {
      return pod.ended(await pod.run({ command: ['/bin/sh', '-c', script], ...container }))
    },
    container: status,
    ended: async (containerId) =>
      eventually(`container ${containerId} ends`, async () => {
        const now = await status(containerId)
        return now.state === ContainerState.CONTAINER_EXITED && now
      }),
    async output(containerId, ...cmd) {
      const { exitCode, stdout, stderr } = await pod.result(containerId, ...cmd)
      deepStrictEqual({ exitCode, stderr }, { exitCode: 0, stderr: '' }, `${cmd.join(' ')} said ${stdout}`)
      return stdout
    },
    async result(containerId, ...cmd) {
      const { exitCode, stdout, stderr } = await runtimeService.execSync({ containerId, cmd, timeout: 30n })
      return { exitCode, stdout: decode(stdout), stderr: decode(stderr) }
    },
    async log(containerId) {
      const text = await readFile((await status(containerId)).logPath, 'utf8')
      return text
        .split('\n')
        .slice(0, -1)
        .map((line) => line.slice(line.indexOf(' ') + 1))
    },
    [Symbol.asyncDispose]: async () => {
      try {
        await runtimeService.stopPodSandbox({ podSandboxId: id })
        await runtimeService.removePodSandbox({ podSandboxId: id })
      } catch (error) {
        // Some runtimes say so of what a check has removed; whether they should is a check of its own.
        if (!isNotFound(error)) throw error
      }
    },
  }
  return pod
}
