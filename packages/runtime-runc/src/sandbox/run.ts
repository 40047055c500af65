// Making a sandbox: all of it, or nothing.
import { randomBytes, randomInt } from 'node:crypto'
import { join } from 'node:path'
import { ContainerConfig, CriError, NamespaceMode } from '@nodelet/cri-api'
import type { PodSandboxConfig } from '@nodelet/cri-api'
import { checkCgroupParent } from '../spec/cgroup-path.ts'
import { lockedSandbox, newSandboxEntry, noteSandbox, updateSandbox } from './context.ts'
import type { SandboxContext, SandboxEntry } from './context.ts'
import { effectiveConfig, sandboxFacts } from './facts.ts'
import { makeNamespaces, namespaceOptions, pinPaths, podUserNamespace } from './namespaces.ts'
import { podAddresses, podInterface, podNetwork, usesHostNetwork } from './network.ts'
import { makePauseRootfs } from './pause.ts'
import { makePodFiles } from './pod-files.ts'
import type { SandboxRecord } from './record.ts'
import { saveSandbox } from './store.ts'
import { discardSandbox, endSandbox } from './stop.ts'
import { crashPoint } from '../crash-points.ts'
import { atLevel, checkSelinuxOptions, freeLevel, labelsFor, levelOf } from '../selinux/labels.ts'
import type { SelinuxLabels } from '../selinux/labels.ts'
import { askedIdMappings } from '../spec/user-namespace.ts'

const NETWORK_LIMIT_MS = 3 * 60_000

/**
 * Makes a sandbox and returns its ID. On failure nothing of it remains; should even the way back fail, it stays in the
 * lists as not ready, to be stopped and removed again.
 */
export async function runSandbox(
  context: SandboxContext,
  config: PodSandboxConfig | undefined,
  runtimeHandler: string,
): Promise<string> {
  const record = newRecord(context, config, runtimeHandler)
  rejectTwin(context, record)
  const entry = newSandboxEntry(record)
  context.entries.set(record.id, entry)
  return lockedSandbox(entry, async () => {
    try {
      await saveSandbox(context.folders, record)
      crashPoint('sandbox/recorded')
      await make(context, entry)
    } catch (error) {
      await undo(context, entry, error)
      throw error
    }
    context.emit({ type: 'created', sandbox: entry.record })
    context.emit({ type: 'started', sandbox: entry.record })
    return record.id
  })
}

async function make(context: SandboxContext, entry: SandboxEntry): Promise<void> {
  const { folders, cgroups } = context
  const { id, config, cgroupParent, selinux } = entry.record
  const pins = pinPaths(folders.namespaces, id, config)
  await makeNamespaces(pins, config, podUserNamespace(folders.namespaces, id, config))
  crashPoint('sandbox/pinned')
  const makeFiles = async (): Promise<void> => {
    await makePodFiles(join(folders.pods, id), config, selinux?.mount)
    if (context.handlers.cgroupDriver !== 'systemd') await cgroups.create(cgroupParent)
    crashPoint('sandbox/files-made')
  }
  const results = await Promise.allSettled([
    makeFiles(),
    pins.net === undefined ? undefined : joinNetwork(context, entry, pins.net),
  ])
  for (const result of results) if (result.status === 'rejected') throw result.reason
  if ((namespaceOptions(config)?.pid ?? NamespaceMode.POD) === NamespaceMode.POD) await makeInfra(context, entry)
  await updateSandbox(context, entry, { phase: 'ready' })
  crashPoint('sandbox/ready')
}

/** From the record on the network is owed: what ADD made is taken back by DEL, at the next start if need be. */
async function joinNetwork(context: SandboxContext, entry: SandboxEntry, netns: string): Promise<void> {
  const { id, config } = entry.record
  const network = await context.cni.add(podNetwork(id, config, netns), AbortSignal.timeout(NETWORK_LIMIT_MS))
  crashPoint('sandbox/network-added')
  if (podAddresses(network).length === 0) {
    throw new Error(`failed to find network info for sandbox "${id}": CNI gave ${podInterface} no address`)
  }
  entry.record = { ...entry.record, network } // stored with the next change
}

/** A PID namespace that is shared needs a first process. */
async function makeInfra(context: SandboxContext, entry: SandboxEntry): Promise<void> {
  const options = namespaceOptions(entry.record.config)
  const infra = ContainerConfig.fromPartial({
    metadata: { name: 'POD', attempt: 0 },
    command: ['/pause'],
    linux: {
      resources: { cpuShares: 2n, oomScoreAdj: -998n },
      securityContext: {
        readonlyRootfs: true,
        noNewPrivs: true,
        capabilities: { dropCapabilities: ['ALL'] },
        namespaceOptions: {
          network: options?.network ?? NamespaceMode.POD,
          ipc: options?.ipc ?? NamespaceMode.POD,
          pid: NamespaceMode.CONTAINER,
          usernsOptions: options?.usernsOptions,
        },
      },
    },
  })
  const infraId = await context.containers.create({
    config: infra,
    sandboxConfig: effectiveConfig(entry.record),
    sandbox: sandboxFacts(context.folders, entry.record),
    image: {},
    imageName: 'pause',
    isInfra: true,
    handler: entry.record.runtimeHandler,
    rootfs: await makePauseRootfs(context.pauseDir, context.selinux?.readOnly),
  })
  crashPoint('sandbox/infra-created')
  await context.containers.start(infraId)
  crashPoint('sandbox/infra-started')
  entry.record = { ...entry.record, infraId } // stored with the next change; until then it goes with the sandbox's others
}

async function undo(context: SandboxContext, entry: SandboxEntry, error: unknown): Promise<void> {
  const { id } = entry.record
  try {
    await endSandbox(context, entry)
    await discardSandbox(context, entry)
  } catch (cleanup) {
    await noteSandbox(context, entry, { phase: 'stopping' })
    throw new AggregateError(
      [error, cleanup],
      `making sandbox ${id}: ${(error as Error).message}; taking back what was made: ${(cleanup as Error).message}; stop and remove it`,
    )
  }
}

function newRecord(
  context: SandboxContext,
  config: PodSandboxConfig | undefined,
  runtimeHandler: string,
): SandboxRecord {
  if (!config?.metadata?.name) throw new CriError('INVALID_ARGUMENT', 'sandbox config has no metadata: set its name')
  context.handlers.of(runtimeHandler)
  askedIdMappings(namespaceOptions(config)) // throws for what cannot be
  const id = randomBytes(32).toString('hex')
  const asked = config.linux?.cgroupParent ?? ''
  checkCgroupParent(context.handlers.cgroupDriver, asked)
  const isSystemd = context.handlers.cgroupDriver === 'systemd'
  const selinux = labelsOf(context, config)
  return {
    id,
    config,
    runtimeHandler,
    phase: 'creating',
    removing: false,
    bootId: context.bootId,
    createdAt: Date.now(),
    cgroupParent: asked || (isSystemd ? 'system.slice' : `${context.cgroupParentDefault}/${id}`),
    ownCgroup: !asked && !isSystemd,
    networkOwed: !usesHostNetwork(config),
    ...(selinux ? { selinux } : {}),
  }
}

/** A pod has a level of its own, unless it asks for one. */
function labelsOf({ selinux, entries }: SandboxContext, { linux }: PodSandboxConfig): SelinuxLabels | undefined {
  const options = linux?.securityContext?.selinuxOptions
  checkSelinuxOptions(options) // also where labels are off, as other runtimes do
  if (!selinux) return undefined
  const isTaken = (level: string): boolean =>
    [...entries.values()].some(({ record }) => record.selinux && levelOf(record.selinux) === level)
  const level = options?.level || freeLevel(isTaken, randomInt)
  return labelsFor(atLevel(selinux, level), options)
}

/** A pod has one sandbox of an attempt; kubelet counts attempts up when it makes one anew. */
function rejectTwin(context: SandboxContext, { config: { metadata } }: SandboxRecord): void {
  for (const { record } of context.entries.values()) {
    const other = record.config.metadata
    const same =
      other?.name === metadata?.name &&
      other?.namespace === metadata?.namespace &&
      other?.uid === metadata?.uid &&
      other?.attempt === metadata?.attempt
    if (!same) continue
    const name = `${metadata?.namespace}/${metadata?.name} (${metadata?.uid}) attempt ${metadata?.attempt}`
    throw new CriError(
      'ALREADY_EXISTS',
      `sandbox ${name} is there as ${record.id}, ${record.phase} since ${new Date(record.createdAt).toISOString()}: remove it`,
    )
  }
}
