// Repeated calls, and calls about what is not there.
import { rejects, strictEqual } from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { isNotFound } from '../errors.ts'
import { ContainerState, PodSandboxState } from '../gen/runtime.ts'
import type { Checks } from './suite-checks.ts'
import { imageSpec, openPod } from './suite-pod.ts'

const ids = [randomUUID(), 'e'.repeat(64)]

export const idempotenceChecks: Checks = {
  async 'StopPodSandbox and RemovePodSandbox of an unknown ID succeed'({ runtimeService }) {
    for (const podSandboxId of ids) {
      await runtimeService.stopPodSandbox({ podSandboxId })
      await runtimeService.removePodSandbox({ podSandboxId })
    }
  },
  async 'StopContainer and RemoveContainer of an unknown ID succeed'({ runtimeService }) {
    for (const containerId of ids) {
      await runtimeService.stopContainer({ containerId, timeout: 0n })
      await runtimeService.removeContainer({ containerId })
    }
  },
  async 'RemoveImage of an unknown one succeeds, twice'({ imageService, image }) {
    for (const name of ['0'.repeat(64), `sha256:${'0'.repeat(64)}`, image('nowhere:none')]) {
      for (let times = 0; times < 2; times++) await imageService.removeImage({ image: imageSpec(name) })
    }
  },
  async 'a sandbox is stopped and removed twice'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    for (let times = 0; times < 2; times++) {
      await runtimeService.stopPodSandbox({ podSandboxId: pod.id })
      strictEqual((await pod.status()).state, PodSandboxState.SANDBOX_NOTREADY)
    }
    for (let times = 0; times < 2; times++) await runtimeService.removePodSandbox({ podSandboxId: pod.id })
  },
  async 'a container is stopped and removed twice'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const containerId = await pod.run()
    for (let times = 0; times < 2; times++) {
      await runtimeService.stopContainer({ containerId, timeout: 10n })
      strictEqual((await pod.container(containerId)).state, ContainerState.CONTAINER_EXITED)
    }
    for (let times = 0; times < 2; times++) await runtimeService.removeContainer({ containerId })
  },
  async 'calls that need the object answer NOT_FOUND'({ runtimeService }) {
    const [containerId = '', podSandboxId = ''] = ids
    const empty = { linux: undefined, windows: undefined, annotations: {} }
    const calls: Record<string, () => Promise<unknown>> = {
      PodSandboxStatus: async () => runtimeService.podSandboxStatus({ podSandboxId, verbose: false }),
      ContainerStatus: async () => runtimeService.containerStatus({ containerId, verbose: false }),
      StartContainer: async () => runtimeService.startContainer({ containerId }),
      ContainerStats: async () => runtimeService.containerStats({ containerId }),
      ReopenContainerLog: async () => runtimeService.reopenContainerLog({ containerId }),
      UpdateContainerResources: async () => runtimeService.updateContainerResources({ containerId, ...empty }),
      ExecSync: async () => runtimeService.execSync({ containerId, cmd: ['true'], timeout: 1n }),
    }
    for (const [name, call] of Object.entries(calls)) await rejects(call, isNotFound, name)
  },
}
