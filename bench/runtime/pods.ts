// What a kubelet asks for a pod, each call timed.
import { ContainerConfig, ImageSpec, NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import type { Times } from '../figures.ts'
import type { Peer } from './peers.ts'

export interface Pod {
  podSandboxId: string
  containerId: string
}

export interface Setting {
  image: string
  logs: string
  cgroup: string
}

let count = 0
const namespaceOptions = { network: NamespaceMode.POD, pid: NamespaceMode.CONTAINER, ipc: NamespaceMode.POD }

export async function startPod(
  { client: { runtimeService }, handler }: Peer,
  { image, logs, cgroup }: Setting,
  times: Times,
): Promise<Pod> {
  const name = `bench-${(count += 1)}`
  const sandboxConfig = PodSandboxConfig.fromPartial({
    metadata: { name, namespace: 'bench', uid: name },
    hostname: name,
    logDirectory: `${logs}/${name}`,
    linux: { cgroupParent: `${cgroup}/${name}`, securityContext: { namespaceOptions } },
  })
  const config = ContainerConfig.fromPartial({
    metadata: { name: 'main' },
    image: ImageSpec.fromPartial({ image }),
    // Ends at SIGTERM, as good programs do.
    command: ['/bin/sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'],
    logPath: 'main.log',
    linux: { securityContext: { namespaceOptions } },
  })
  const since = performance.now()
  const { podSandboxId } = await times.of('RunPodSandbox', async () =>
    runtimeService.runPodSandbox({ config: sandboxConfig, runtimeHandler: handler }),
  )
  const { containerId } = await times.of('CreateContainer', async () =>
    runtimeService.createContainer({ podSandboxId, config, sandboxConfig }),
  )
  await times.of('StartContainer', async () => runtimeService.startContainer({ containerId }))
  times.add('the three: a pod runs', performance.now() - since)
  return { podSandboxId, containerId }
}

export async function execIn({ client }: Peer, { containerId }: Pod, times: Times): Promise<void> {
  const request = { containerId, cmd: ['/bin/true'], timeout: 10n }
  const { exitCode } = await times.of('ExecSync', async () => client.runtimeService.execSync(request))
  if (exitCode !== 0) throw new Error(`exec in ${containerId}: exit ${exitCode}`)
}

export async function removePod({ client }: Peer, { podSandboxId, containerId }: Pod, times: Times): Promise<void> {
  const { runtimeService } = client
  const since = performance.now()
  await times.of('StopContainer', async () => runtimeService.stopContainer({ containerId, timeout: 10n }))
  await times.of('StopPodSandbox', async () => runtimeService.stopPodSandbox({ podSandboxId }))
  await times.of('RemovePodSandbox', async () => runtimeService.removePodSandbox({ podSandboxId }))
  times.add('the three: a pod is gone', performance.now() - since)
}

/** Everything that is there, for the end. */
export async function removeAllPods({ client: { runtimeService } }: Peer): Promise<void> {
  for (const { id } of (await runtimeService.listPodSandbox({ filter: undefined })).items) {
    await runtimeService.stopPodSandbox({ podSandboxId: id })
    await runtimeService.removePodSandbox({ podSandboxId: id })
  }
}

export const podSteps = [
  'RunPodSandbox',
  'CreateContainer',
  'StartContainer',
  'the three: a pod runs',
  'ExecSync',
  'StopContainer',
  'StopPodSandbox',
  'RemovePodSandbox',
  'the three: a pod is gone',
] as const
