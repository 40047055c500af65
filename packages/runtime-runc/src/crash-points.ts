// Named steps at which a test has this process die as by `kill -9`. They cost one comparison each while none is set.

/** In the order of the calls that pass them. The first word is what is worked on. */
export const crashPoints = [
  // RunPodSandbox
  'sandbox/recorded',
  'sandbox/pinned',
  'sandbox/files-made',
  'sandbox/network-added',
  'sandbox/infra-created',
  'sandbox/infra-started',
  'sandbox/ready',
  // StopPodSandbox
  'sandbox/stopping',
  'sandbox/containers-stopped',
  'sandbox/network-deleted',
  'sandbox/network-paid',
  'sandbox/unpinned',
  'sandbox/stopped',
  // RemovePodSandbox
  'sandbox/removing',
  'sandbox/containers-removed',
  'sandbox/files-removed',
  'sandbox/cgroup-removed',
  'sandbox/removed',
  // CreateContainer
  'container/recorded',
  'container/rootfs-folders-made',
  'container/rootfs-recorded',
  'container/rootfs-mounted',
  'container/rootfs-known',
  'container/bundle-written',
  'container/monitor-spawned',
  'container/monitor-placed',
  'container/monitor-told',
  'container/made',
  'container/created',
  // StartContainer
  'container/starting',
  'container/started',
  'container/running',
  // StopContainer, and every other end
  'container/signalled',
  'container/killed',
  'container/exit-read',
  'container/runtime-deleted',
  'container/exited',
  // RemoveContainer
  'container/removing',
  'container/runtime-removed',
  'container/monitor-ended',
  'container/bundle-removed',
  'container/rootfs-released',
  'container/removed',
  // ExecSync
  'exec/prepared',
  'exec/spawned',
  'exec/ended',
  // UpdateContainerResources
  'update/recorded',
  'update/applied',
  'update/stored',
  // CheckpointContainer
  'checkpoint/recorded',
  'checkpoint/paused',
  'checkpoint/dumped',
  'checkpoint/packed',
  'checkpoint/resumed',
  // ReopenContainerLog
  'log/told',
  // Every record
  'record/folder-made',
  'record/written',
  'record/set-aside',
  // PullImage
  'image/blob-partial',
  'image/blob-written',
  'image/blob-stored',
  'image/layer-unpacked',
  'image/layer-recorded',
  'image/layer-stored',
  'image/names-taken',
  'image/recorded',
  // RemoveImage, and every collection of what no image needs
  'image/forgotten',
  'image/layer-forgotten',
  'image/layer-removed',
  'image/blob-removed',
  'image/collected',
] as const

export type CrashPoint = (typeof crashPoints)[number]

/** `NAME`, or `NAME#2` for the second time that it is passed. */
let armed: string | undefined = process.env['NODELET_CRASH_AT']
const passed = new Map<string, number>()

/** Sets where this process dies; undefined for nowhere. Default: the environment's `NODELET_CRASH_AT`. */
export function armCrash(point: string | undefined): void {
  armed = point
  passed.clear()
}

/** A step is done. Does not return when the process is to die here. */
export function crashPoint(point: CrashPoint): void {
  if (armed === undefined) return
  const times = (passed.get(point) ?? 0) + 1
  passed.set(point, times)
  if (armed === point || armed === `${point}#${times}`) process.kill(process.pid, 'SIGKILL')
}
