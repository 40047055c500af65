// Making a container: everything but the start of its program.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import type { ContainerConfig, PodSandboxConfig } from '@nodelet/cri-api'
import { makeBundle, writeBundle } from '../bundle.ts'
import { prepareMonitor } from '../conmon.ts'
import type { ConmonOptions, Monitored } from '../conmon.ts'
import { parseSignal, signalName } from '../signals.ts'
import { monitorCgroup } from '../spec/cgroup-path.ts'
import { buildSpec } from '../spec/build.ts'
import type { ContainerFacts, HandlerFacts, ImageConfig, SandboxFacts } from '../spec/facts.ts'
import { relabel } from '../selinux/relabel.ts'
import { specNotes } from '../spec/notes.ts'
import type { OciSpec } from '../spec/oci.ts'
import { locked, newEntry, runcOf, update } from './context.ts'
import type { Context, Entry } from './context.ts'
import { watchProcesses } from './exits.ts'
import { gatherFacts } from './facts.ts'
import { findById } from './filter.ts'
import type { ContainerRecord } from './record.ts'
import { discard } from './remove.ts'
import { giveStreams, hideShown, showRootfs } from './shown.ts'
import { saveRecord } from './store.ts'
import { crashPoint } from '../crash-points.ts'

/** What a container is made from. */
export interface CreateOptions {
  config: ContainerConfig
  sandboxConfig: PodSandboxConfig
  sandbox: SandboxFacts
  /** The `config` object of the image. */
  image: ImageConfig
  /** Resolved reference of the image. */
  imageName: string
  imageId?: string
  /** The runtime handler. Default: the default one. */
  handler?: string
  /** Its name with a digest. */
  imageRef?: string
  /**
   * The container's own mounted root file system, for instance an overlay. A path is the caller's, who removes it after
   * `remove`. A function mounts it for the container of that ID; `ContainersOptions.releaseRootfs` undoes that.
   */
  rootfs: string | ((id: string) => Promise<string>)
  /** Whether it only holds the sandbox's namespaces. Default: false. */
  isInfra?: boolean
  /** By container path of a mount that has an image and no host path: what is mounted there. */
  imageMounts?: Readonly<Record<string, string>>
  signal?: AbortSignal
}

/** Makes a container and returns its ID. On failure nothing of it remains. */
export async function create(context: Context, options: CreateOptions): Promise<string> {
  const entry = newEntry(newRecord(context, options))
  const { id } = entry.record
  rejectTwin(context, entry.record)
  context.entries.set(id, entry)
  return locked(entry, async () => {
    try {
      await saveRecord(context.folders, entry.record)
      crashPoint('container/recorded')
      await make(context, entry, options)
    } catch (error) {
      await discardAfter(context, entry, error)
      throw error
    }
    context.emit({ type: 'created', container: entry.record })
    return id
  })
}

async function discardAfter(context: Context, entry: Entry, error: unknown): Promise<void> {
  try {
    await discard(context, entry)
  } catch (cleanup) {
    const { id } = entry.record
    throw new AggregateError([error, cleanup], `creating container ${id} failed, and so did its removal: remove it`)
  }
}

async function make(context: Context, entry: Entry, options: CreateOptions): Promise<void> {
  const bundle = join(context.folders.bundles, entry.record.id)
  makeBundle(bundle)
  const { spec, monitored } = await monitoredBundle(context, entry, bundle, options)
  crashPoint('container/made')
  const { userNamespace } = options.sandbox
  if (userNamespace && !options.config.tty) giveStreams(monitored.init.pid, spec.process.user, userNamespace)
  const ownPidNamespace = spec.linux.namespaces.some(({ type, path }) => type === 'pid' && path === undefined)
  await update(context, entry, {
    ...monitored,
    ownPidNamespace,
    user: spec.process.user,
    ...(spec.hooks?.poststart?.length ? { hasStartHooks: true } : {}),
    notes: specNotes(options.config, context.host, { hasLabels: options.sandbox.selinux !== undefined }),
    phase: 'created',
  })
  crashPoint('container/created')
  watchProcesses(context, entry)
}

/** The monitor's start and its move to its cgroup take as long as the rest: they go side by side. */
async function monitoredBundle(
  context: Context,
  entry: Entry,
  bundle: string,
  options: CreateOptions,
): Promise<{ spec: OciSpec; monitored: Monitored }> {
  try {
    const [prepared, filled] = await Promise.allSettled([
      prepareMonitor(monitorOptions(context, entry.record, bundle, options)),
      fillBundle(context, entry, bundle, options),
    ])
    if (prepared.status === 'rejected') throw prepared.reason
    if (filled.status === 'rejected') {
      await prepared.value.cancel()
      throw filled.reason
    }
    return { spec: filled.value, monitored: await prepared.value.create() }
  } finally {
    hideShown(join(context.folders.shown, entry.record.id))
  }
}

/** Mounts the root file system and writes `config.json`. */
async function fillBundle(context: Context, entry: Entry, bundle: string, options: CreateOptions): Promise<OciSpec> {
  if (typeof options.rootfs === 'function') {
    const rootfs = await options.rootfs(entry.record.id)
    entry.record = { ...entry.record, rootfs } // stored with the next change
    crashPoint('container/rootfs-known')
  }
  const spec = await specFor(context, entry.record, options)
  writeBundle(bundle, spec)
  crashPoint('container/bundle-written')
  return spec
}

function monitorOptions(
  context: Context,
  record: ContainerRecord,
  bundle: string,
  { config, signal }: CreateOptions,
): ConmonOptions {
  const { folders, conmon } = context
  const { id, logPath, monitorCgroup: cgroup } = record
  return {
    id,
    name: config.metadata?.name ?? id,
    bundle,
    exitDir: folders.exits,
    persistDir: bundle,
    socketDir: folders.sockets,
    terminal: config.tty,
    stdin: config.stdin,
    leaveStdinOpen: config.stdin && !config.stdinOnce,
    runc: runcOf(context, record),
    binary: conmon,
    ...(logPath ? { logPath } : {}),
    ...(signal ? { signal } : {}),
    ...(cgroup ? { place: (pid) => placeMonitor(context, cgroup, pid) } : {}),
  }
}

/** In a cgroup of its own: on v2 the pod's, which has cgroups below it, takes no process. */
async function placeMonitor({ cgroups }: Context, cgroup: string, pid: number): Promise<void> {
  await cgroups.create(cgroup)
  await cgroups.attach(cgroup, pid)
  crashPoint('container/monitor-placed')
}

async function specFor(context: Context, record: ContainerRecord, options: CreateOptions): Promise<OciSpec> {
  const targetId = options.config.linux?.securityContext?.namespaceOptions?.targetId
  const inPod = (one: ContainerRecord): boolean => one.sandboxId === record.sandboxId && !one.isInfra
  const others = targetId ? [...context.entries.values()].map((entry) => entry.record).filter(inPod) : []
  const target = findById('container', others, targetId ?? '')
  const targetPid = target?.phase === 'running' ? target.init?.pid : undefined
  const shownDir = join(context.folders.shown, record.id)
  const { userNamespace } = options.sandbox
  const container = await gatherFacts({
    id: record.id,
    rootfs: userNamespace ? showRootfs(shownDir, record.rootfs) : record.rootfs,
    userNamespace,
    shownDir,
    config: options.config,
    image: options.image,
    imageName: options.imageName,
    imageMounts: options.imageMounts ?? {},
    cdi: context.cdi,
    isInfra: options.isInfra ?? false,
    ownsDevices: context.ownsDevices,
    volumesDir: join(context.folders.containers, record.id, 'volumes'),
    ...(targetPid === undefined ? {} : { targetPid }),
    ...(options.signal ? { signal: options.signal } : {}),
  })
  const spec = buildSpec({
    container: options.config,
    sandbox: options.sandboxConfig,
    image: options.image,
    facts: { container, sandbox: options.sandbox, host: context.host, handler: handlerFacts(context, record) },
  })
  await labelSources(container, options.config, spec.linux.mountLabel, options.signal)
  return spec
}

/** What the container shares and may have as its own, and what its image's volumes begin with. */
async function labelSources(
  { sources, imageVolumes }: ContainerFacts,
  { mounts }: ContainerConfig,
  label: string | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (label === undefined) return
  const asked = mounts.flatMap(({ hostPath, selinuxRelabel }) =>
    selinuxRelabel ? [sources[hostPath]?.path ?? ''] : [],
  )
  for (const path of [...asked, ...Object.values(imageVolumes)]) if (path !== '') await relabel(path, label, signal)
}

function handlerFacts({ handlers }: Context, { handler }: ContainerRecord): HandlerFacts {
  const { options, features, netDevices } = handlers.of(handler)
  return { ...options, features, netDevices, cgroupDriver: handlers.cgroupDriver }
}

function newRecord(
  context: Context,
  { config, sandboxConfig, sandbox, image, imageName, imageId, imageRef, rootfs, handler, isInfra }: CreateOptions,
): ContainerRecord {
  const logPath =
    sandboxConfig.logDirectory && config.logPath ? join(sandboxConfig.logDirectory, config.logPath) : undefined
  const id = randomBytes(32).toString('hex')
  const parent = sandboxConfig.linux?.cgroupParent ?? ''
  const cgroup = monitorCgroup(context.handlers.cgroupDriver, parent, id)
  return {
    id,
    sandboxId: sandbox.id,
    config,
    imageName,
    ...(handler ? { handler } : {}),
    ...(isInfra ? { isInfra } : {}),
    ...(imageId ? { imageId } : {}),
    ...(imageRef ? { imageRef } : {}),
    rootfs: typeof rootfs === 'string' ? rootfs : '',
    stopSignal: signalName(config.stopSignal) ?? parseSignal(image.StopSignal ?? '') ?? 'SIGTERM',
    ownPidNamespace: false,
    phase: 'creating',
    removing: false,
    bootId: context.bootId,
    createdAt: Date.now(),
    ...(cgroup ? { monitorCgroup: cgroup } : {}),
    ...(logPath ? { logPath } : {}),
  }
}

/** A pod has one container of a name and attempt; kubelet counts attempts up when it makes one anew. */
function rejectTwin(context: Context, { sandboxId, config }: ContainerRecord): void {
  const { name, attempt } = config.metadata ?? {}
  if (!name) throw new CriError('INVALID_ARGUMENT', 'container config has no metadata.name: set it')
  for (const { record } of context.entries.values()) {
    const other = record.config.metadata
    if (record.sandboxId === sandboxId && other?.name === name && other.attempt === attempt) {
      throw new CriError(
        'ALREADY_EXISTS',
        `container ${name} attempt ${attempt} is already there as ${record.id}: remove it`,
      )
    }
  }
}
