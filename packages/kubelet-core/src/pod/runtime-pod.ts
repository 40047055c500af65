// What the runtime has of one pod, as decisions and statuses read it. Plain data.

export type ContainerPhase = 'created' | 'running' | 'exited' | 'unknown'

/** A sandbox of a pod, live or dead. */
export interface RuntimeSandbox {
  id: string
  attempt: number
  ready: boolean
  /** Milliseconds since the epoch. */
  createdMs: number
  hostNetwork: boolean
  /** Empty on the host's network. */
  ips: readonly string[]
}

/** A container of a pod, live or dead. Times are milliseconds since the epoch, 0 until they are. */
export interface RuntimeContainer {
  id: string
  name: string
  /** The restart count. */
  attempt: number
  sandboxId: string
  phase: ContainerPhase
  createdMs: number
  startedMs: number
  finishedMs: number
  exitCode: number
  reason: string
  /** The runtime's message, or the termination message. */
  message: string
  image: string
  imageRef: string
  /** Of name and image, as it was when the container was made. */
  hash: string
  logPath: string
  annotations: Readonly<Record<string, string>>
  mounts: readonly { hostPath: string; containerPath: string; recursiveReadOnly: boolean }[]
  user?: { uid: number; gid: number; supplementalGroups: number[] }
}

/** Newest first, both. */
export interface RuntimePod {
  sandboxes: readonly RuntimeSandbox[]
  containers: readonly RuntimeContainer[]
}

export const emptyRuntimePod: RuntimePod = { sandboxes: [], containers: [] }

/** The newest container of this name, of one sandbox or of any. */
export function newestOf(runtime: RuntimePod, name: string, sandboxId?: string): RuntimeContainer | undefined {
  return runtime.containers.find(
    (container) => container.name === name && (sandboxId === undefined || container.sandboxId === sandboxId),
  )
}

/** Whether something of the pod still runs or may run. */
export function isAlive(runtime: RuntimePod): boolean {
  return runtime.sandboxes.some(({ ready }) => ready) || runtime.containers.some(({ phase }) => phase === 'running')
}
