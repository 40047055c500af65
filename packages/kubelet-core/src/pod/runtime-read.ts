// Reading from the runtime what it has of a pod.
import {
  type Container,
  ContainerState,
  type ContainerStatus,
  isNotFound,
  NamespaceMode,
  type PodSandbox,
  PodSandboxState,
  type RuntimeService,
} from '@nodelet/cri-api'
import { hashAnnotation, podUidLabel } from './labels.ts'
import type { ContainerPhase, RuntimeContainer, RuntimePod, RuntimeSandbox } from './runtime-pod.ts'
import { terminationMessage } from './termination-message.ts'

/** Reads pods; what has exited is read once, for it does not change. */
export interface RuntimeReader {
  read(podUid: string, signal?: AbortSignal): Promise<RuntimePod>
  /** As it was last read; read anew only if something has happened since. */
  look(podUid: string, signal?: AbortSignal): Promise<RuntimePod>
  /** Something has happened: to this pod, or to any. */
  outdate(podUid?: string): void
  /** The pods that the runtime has, by UID, with what the labels tell of them. Those that are not as last read are outdated. */
  podUids(signal?: AbortSignal): Promise<Map<string, { name: string; namespace: string }>>
  /** As it was last read. */
  last(podUid: string): RuntimePod | undefined
  /** Calls back after each read; returns how to stop. */
  onRead(call: (podUid: string, runtime: RuntimePod) => void): () => void
  /** The pod of a container or sandbox that was read before. */
  ownerOf(id: string): string | undefined
  forget(podUid: string): void
}

export function createRuntimeReader(runtime: RuntimeService): RuntimeReader {
  const exited = new Map<string, Map<string, RuntimeContainer>>()
  const owners = new Map<string, string>()
  const latest = new Map<string, RuntimePod>()
  const printed = new Map<string, string | undefined>()
  const outdated = new Set<string>()
  const listeners = new Set<(podUid: string, runtime: RuntimePod) => void>()

  const readContainer = async (listed: Container, podUid: string, signal?: AbortSignal) => {
    const known = exited.get(podUid)?.get(listed.id)
    if (known) return known
    const status = await orMissing(async () =>
      runtime.containerStatus({ containerId: listed.id, verbose: false }, { signal }),
    )
    if (!status?.status) return undefined
    const container = await containerOf(status.status, listed.podSandboxId)
    if (container.phase === 'exited') {
      const ofPod = exited.get(podUid) ?? new Map<string, RuntimeContainer>()
      exited.set(podUid, ofPod.set(container.id, container))
    }
    return container
  }

  const readSandbox = async (listed: PodSandbox, signal?: AbortSignal) => {
    const ready = listed.state === PodSandboxState.SANDBOX_READY
    if (!ready) return sandboxOf(listed, false, [])
    const answer = await orMissing(async () =>
      runtime.podSandboxStatus({ podSandboxId: listed.id, verbose: false }, { signal }),
    )
    if (!answer?.status) return undefined
    const { network, linux, state } = answer.status
    const ips = [network?.ip ?? '', ...(network?.additionalIps ?? []).map(({ ip }) => ip)].filter((ip) => ip !== '')
    const hostNetwork = linux?.namespaces?.options?.network === NamespaceMode.NODE
    return sandboxOf(listed, state === PodSandboxState.SANDBOX_READY, ips, hostNetwork)
  }

  const read: RuntimeReader['read'] = async (podUid, signal) => {
    // What happens from here on is not in the answers for sure.
    outdated.delete(podUid)
    const labelSelector = { [podUidLabel]: podUid }
    const [{ items }, { containers }] = await Promise.all([
      runtime.listPodSandbox({ filter: { id: '', labelSelector } }, { signal }),
      runtime.listContainers({ filter: { id: '', podSandboxId: '', labelSelector } }, { signal }),
    ])
    for (const { id } of [...items, ...containers]) owners.set(id, podUid)
    printed.set(podUid, printsOf(items, containers).get(podUid))
    const [sandboxes, statuses] = await Promise.all([
      Promise.all(items.map(async (item) => readSandbox(item, signal))),
      Promise.all(containers.map(async (item) => readContainer(item, podUid, signal))),
    ])
    const pod = {
      sandboxes: sandboxes.filter((item) => item !== undefined).toSorted(newestFirst),
      containers: statuses.filter((item) => item !== undefined).toSorted(newestFirst),
    }
    latest.set(podUid, pod)
    for (const call of listeners) call(podUid, pod)
    return pod
  }

  const outdate: RuntimeReader['outdate'] = (podUid) => {
    for (const uid of podUid === undefined ? latest.keys() : [podUid]) outdated.add(uid)
  }

  return {
    read,
    async look(podUid, signal) {
      const known = outdated.has(podUid) ? undefined : latest.get(podUid)
      return known ?? read(podUid, signal)
    },
    outdate,
    last: (podUid) => latest.get(podUid),
    onRead(call) {
      listeners.add(call)
      return () => void listeners.delete(call)
    },
    async podUids(signal) {
      const [{ items }, { containers }] = await Promise.all([
        runtime.listPodSandbox({}, { signal }),
        runtime.listContainers({}, { signal }),
      ])
      const pods = new Map<string, { name: string; namespace: string }>()
      for (const { labels } of [...items, ...containers]) {
        const uid = labels[podUidLabel]
        const { 'io.kubernetes.pod.name': name = '', 'io.kubernetes.pod.namespace': namespace = '' } = labels
        if (uid) pods.set(uid, { name, namespace })
      }
      const prints = printsOf(items, containers)
      for (const uid of latest.keys()) if (prints.get(uid) !== printed.get(uid)) outdated.add(uid)
      return pods
    },
    ownerOf: (id) => owners.get(id),
    forget(podUid) {
      exited.delete(podUid)
      latest.delete(podUid)
      printed.delete(podUid)
      outdated.delete(podUid)
      for (const [id, owner] of owners) if (owner === podUid) owners.delete(id)
    },
  }
}

/** Per pod, which sandboxes and containers are listed, and in which states. */
export function printsOf(sandboxes: readonly PodSandbox[], containers: readonly Container[]): Map<string, string> {
  const prints = new Map<string, string>()
  for (const { id, state, labels } of [...sandboxes, ...containers]) {
    const uid = labels[podUidLabel]
    if (uid) prints.set(uid, `${prints.get(uid) ?? ''} ${id}=${state}`)
  }
  return prints
}

const newestFirst = (a: { attempt: number; createdMs: number }, b: { attempt: number; createdMs: number }): number =>
  b.attempt - a.attempt || b.createdMs - a.createdMs

/** What was removed between list and look is not there. */
async function orMissing<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call()
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}

const ms = (nanoseconds: bigint): number => Number(nanoseconds / 1_000_000n)

function sandboxOf(
  { id, metadata, createdAt }: PodSandbox,
  ready: boolean,
  ips: readonly string[],
  hostNetwork = false,
): RuntimeSandbox {
  return { id, attempt: metadata?.attempt ?? 0, ready, createdMs: ms(createdAt), hostNetwork, ips }
}

const phases: Partial<Record<number, ContainerPhase>> = {
  [ContainerState.CONTAINER_CREATED]: 'created',
  [ContainerState.CONTAINER_RUNNING]: 'running',
  [ContainerState.CONTAINER_EXITED]: 'exited',
}

async function containerOf(status: ContainerStatus, sandboxId: string): Promise<RuntimeContainer> {
  const { id, metadata, annotations, mounts, image, imageRef, exitCode, reason, logPath, user } = status
  const phase = phases[status.state] ?? 'unknown'
  const linux = user?.linux
  return {
    id,
    name: metadata?.name ?? '',
    attempt: metadata?.attempt ?? 0,
    sandboxId,
    phase,
    createdMs: ms(status.createdAt),
    startedMs: ms(status.startedAt),
    finishedMs: ms(status.finishedAt),
    exitCode,
    reason,
    message: phase === 'exited' ? await terminationMessage(status) : status.message,
    image: image?.userSpecifiedImage || (image?.image ?? ''),
    imageRef,
    hash: annotations[hashAnnotation] ?? '',
    logPath,
    annotations,
    mounts: mounts.map(({ hostPath, containerPath, recursiveReadOnly }) => ({
      hostPath,
      containerPath,
      recursiveReadOnly,
    })),
    ...(linux && {
      user: {
        uid: Number(linux.uid),
        gid: Number(linux.gid),
        supplementalGroups: linux.supplementalGroups.map(Number),
      },
    }),
  }
}
