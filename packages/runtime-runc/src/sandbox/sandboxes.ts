// The sandboxes of one runtime.
import { readFile } from 'node:fs/promises'
import { CriError } from '@nodelet/cri-api'
import type { PodSandboxConfig } from '@nodelet/cri-api'
import { openCgroups } from '@nodelet/linux'
import type { Cgroups } from '@nodelet/linux'
import type { Containers } from '../container/containers.ts'
import type { SandboxFacts } from '../spec/facts.ts'
import type { Handlers } from '../handlers.ts'
import type { Cni } from '@nodelet/cni-plugins'
import { sandboxEntryOf } from './context.ts'
import type { SandboxContext, SandboxEvent } from './context.ts'
import { sandboxFacts } from './facts.ts'
import type { PolicyLabels } from '../selinux/labels.ts'
import { arePinned, protectPins } from './namespaces.ts'
import type { SandboxRecord } from './record.ts'
import { recoverSandboxes } from './recover.ts'
import { noteResources } from './resources.ts'
import type { PodResources } from './resources.ts'
import { runSandbox } from './run.ts'
import { removeSandbox, stopSandbox } from './stop.ts'
import { makeSandboxFolders } from './store.ts'

export interface SandboxesOptions {
  /** Survives reboots. The lock on it is the containers'. */
  stateDir: string
  /** On a tmpfs. */
  runDir: string
  containers: Containers
  handlers: Handlers
  cni: Cni
  /** Below it each sandbox that names no cgroup parent gets one of its own. Default: `/nodelet`. */
  cgroupParentDefault?: string
  /** SELinux labels of pods that ask for none, but for their level. Default: pods have no labels. */
  selinux?: PolicyLabels
  /** Unmounts the images that the sandbox's containers had as volumes; may be called again. Default: there are none. */
  releaseViews?: (id: string) => Promise<void>
  onEvent?: (event: SandboxEvent) => void
  /** Told of what went wrong in the background. Default: a process warning. */
  onProblem?: (error: Error) => void
}

/** What is done in a ready sandbox. */
export type SandboxWork<T> = (record: Readonly<SandboxRecord>, facts: SandboxFacts, signal: AbortSignal) => Promise<T>

/** Operations on sandboxes. IDs are whole. */
export interface Sandboxes {
  readonly cgroups: Cgroups
  /** Makes a sandbox and returns its ID; on failure nothing of it remains. */
  run(config: PodSandboxConfig | undefined, runtimeHandler: string): Promise<string>
  /** Kills its containers and gives back its network. An unknown sandbox is fine, a stopped one too. */
  stop(id: string): Promise<void>
  /** Stops it, and removes it with its containers. An unknown sandbox is fine. */
  remove(id: string): Promise<void>
  list(): Readonly<SandboxRecord>[]
  /** @throws CriError NOT_FOUND */
  status(id: string): Readonly<SandboxRecord>
  /** Whether it takes containers: namespaces and, if it has one, first process are there. */
  isReady(id: string): boolean
  /** @throws CriError NOT_FOUND, or FAILED_PRECONDITION when it is not ready */
  assertReady(id: string): void
  facts(id: string): SandboxFacts
  /**
   * Runs work in a ready sandbox; the sandbox's end aborts its signal and waits for it.
   *
   * @throws CriError NOT_FOUND, or FAILED_PRECONDITION when it is not ready.
   */
  use<T>(id: string, work: SandboxWork<T>): Promise<T>
  /** Stores what the pod as a whole may use; what is undefined stays. @throws CriError NOT_FOUND */
  noteResources(id: string, resources: PodResources): Promise<void>
}

/** Opens a runtime's sandboxes: what a crash cut off is finished or undone, what a reboot ended is stopped. */
export async function openSandboxes(options: SandboxesOptions): Promise<Sandboxes> {
  const { stateDir, runDir, containers, handlers, cni } = options
  const folders = await makeSandboxFolders(stateDir, runDir)
  await protectPins(folders.namespaces)
  const context: SandboxContext = {
    folders,
    containers,
    handlers,
    cni,
    cgroups: await openCgroups(),
    cgroupParentDefault: options.cgroupParentDefault ?? '/nodelet',
    pauseDir: stateDir,
    bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
    entries: new Map(),
    ...(options.selinux ? { selinux: options.selinux } : {}),
    releaseViews: options.releaseViews ?? (async (): Promise<void> => {}),
    emit: options.onEvent ?? ((): void => {}),
    onProblem: options.onProblem ?? ((error): void => process.emitWarning(error)),
  }
  await recoverSandboxes(context)
  const infraPid = ({ infraId }: Readonly<SandboxRecord>): number | undefined => {
    const infra = containers.list().find(({ id }) => id === infraId)
    return infra?.phase === 'running' ? infra.init?.pid : undefined
  }
  const isReady = (id: string): boolean => {
    const record = context.entries.get(id)?.record
    if (record?.phase !== 'ready') return false
    if (record.infraId !== undefined && infraPid(record) === undefined) return false
    return arePinned(folders.namespaces, id, record.config)
  }
  const assertReady = (id: string): void => {
    sandboxEntryOf(context, id)
    if (isReady(id)) return
    throw new CriError('FAILED_PRECONDITION', `sandbox container "${id}" is not running: make another`)
  }
  const factsOf = (record: Readonly<SandboxRecord>): SandboxFacts => sandboxFacts(folders, record, infraPid(record))
  return {
    cgroups: context.cgroups,
    run: (config, runtimeHandler) => runSandbox(context, config, runtimeHandler),
    stop: async (id) => {
      const entry = context.entries.get(id)
      if (entry) await stopSandbox(context, entry)
    },
    remove: async (id) => {
      const entry = context.entries.get(id)
      if (entry) await removeSandbox(context, entry)
    },
    list: () => [...context.entries.values()].map(({ record }) => record),
    status: (id) => sandboxEntryOf(context, id).record,
    isReady,
    assertReady,
    facts: (id) => factsOf(sandboxEntryOf(context, id).record),
    use: async (id, work) => {
      const entry = sandboxEntryOf(context, id)
      assertReady(id)
      const use = work(entry.record, factsOf(entry.record), entry.ending.signal)
      entry.uses.add(use)
      try {
        return await use
      } finally {
        entry.uses.delete(use)
      }
    },
    noteResources: (id, resources) => noteResources(context, sandboxEntryOf(context, id), resources),
  }
}
