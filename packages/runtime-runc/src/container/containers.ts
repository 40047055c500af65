// The containers of one runtime.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import type { LinuxContainerResources } from '@nodelet/cri-api'
import { lockFolder, openCgroups } from '@nodelet/linux'
import { createCdi } from '../cdi/cdi.ts'
import { checkpoint } from '../checkpoint/checkpoint.ts'
import { reopenLog } from '../reopen-log.ts'
import { findProgram } from '../exec-file.ts'
import { readText } from '../files.ts'
import { isAlive } from '../pids.ts'
import { openHandlers } from '../handlers.ts'
import type { Handlers } from '../handlers.ts'
import type { Runc } from '../runc.ts'
import type { HostFacts } from '../spec/facts.ts'
import type { OciSpec } from '../spec/oci.ts'
import { entryOf, runcOf } from './context.ts'
import type { ContainerEvent, Context } from './context.ts'
import { create } from './create.ts'
import type { CreateOptions } from './create.ts'
import { execSync } from './exec.ts'
import type { ExecResult } from './exec.ts'
import { watchExits } from './exits.ts'
import { readHostFacts } from './host.ts'
import type { ContainerRecord } from './record.ts'
import { recover } from './recover.ts'
import { remove } from './remove.ts'
import { start } from './start.ts'
import { endNow, stop } from './stop.ts'
import { makeFolders } from './store.ts'
import { updateResources } from './update.ts'

/** Where things are. */
export interface ContainersOptions {
  /** Survives reboots, for instance `/var/lib/nodelet`. */
  stateDir: string
  /** On a tmpfs, at most 34 bytes long, for instance `/run/nodelet`. */
  runDir: string
  /** The OCI runtimes. Default: `runc` on the PATH. */
  handlers?: Handlers
  /** Default: `conmon` on the PATH. */
  conmon?: string
  /** Default: looked up. */
  host?: HostFacts
  /** Folders of CDI files, a later one wins. Default: `/etc/cdi` and `/var/run/cdi`. */
  cdiSpecDirs?: readonly string[]
  /** Devices belong to run_as_user and run_as_group of the container that names them. Default: to their owner here. */
  deviceOwnershipFromSecurityContext?: boolean
  /** Takes away what `CreateOptions.rootfs` mounted as a function; also called for what a crash left. */
  releaseRootfs?: (id: string) => Promise<void>
  onEvent?: (event: ContainerEvent) => void
  /** Told of what went wrong in the background. Default: a process warning. */
  onProblem?: (error: Error) => void
}

/** Operations on containers; times in milliseconds. Disposing leaves the containers running. */
export interface Containers extends AsyncDisposable {
  create(options: CreateOptions): Promise<string>
  start(id: string, signal?: AbortSignal): Promise<void>
  stop(id: string, timeoutMs: number, signal?: AbortSignal): Promise<void>
  /** As `stop` with a timeout of 0; a process that waits to be started ends, too. */
  endNow(id: string): Promise<void>
  remove(id: string, signal?: AbortSignal): Promise<void>
  execSync(id: string, command: readonly string[], timeoutMs?: number, signal?: AbortSignal): Promise<ExecResult>
  reopenLog(id: string, signal?: AbortSignal): Promise<void>
  /** Merges the limits that are not zero into the container's; they hold when this returns. */
  updateResources(id: string, limits: LinuxContainerResources): Promise<void>
  /** Writes a checkpoint by criu to a tar file; the container goes on afterwards. */
  checkpoint(id: string, location: string, signal?: AbortSignal): Promise<void>
  /** The OCI runtime of a container. @throws CriError NOT_FOUND */
  runc(id: string): Runc
  /** The OCI spec; undefined when a reboot lost it. */
  spec(id: string): Promise<OciSpec | undefined>
  /** Fulfilled when the container has ended; at once if it has. */
  wait(id: string): Promise<Readonly<ContainerRecord>>
  /** @throws CriError NOT_FOUND */
  status(id: string): Readonly<ContainerRecord>
  list(): Readonly<ContainerRecord>[]
}

/**
 * Opens a runtime's containers: those that still run are adopted, those that ended meanwhile are settled.
 *
 * @throws Error when another process has `stateDir`, or runc is not there.
 */
export async function openContainers(options: ContainersOptions): Promise<Containers> {
  const folders = await makeFolders(options.stateDir, options.runDir)
  await using opening = new AsyncDisposableStack()
  opening.use(await lockFolder(options.stateDir))
  const context: Context = {
    folders,
    cgroups: await openCgroups(),
    handlers: options.handlers ?? (await openHandlers(options.runDir, {})),
    conmon: await findProgram(options.conmon ?? 'conmon'),
    host: options.host ?? (await readHostFacts()),
    cdi: createCdi(options.cdiSpecDirs),
    ownsDevices: options.deviceOwnershipFromSecurityContext ?? false,
    bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
    entries: new Map(),
    releaseRootfs: options.releaseRootfs ?? (async (): Promise<void> => {}),
    emit: options.onEvent ?? ((): void => {}),
    onProblem: options.onProblem ?? ((error): void => process.emitWarning(error)),
  }
  opening.use(watchExits(context)) // before recovery, so that no exit falls between
  await recover(context)
  const resources = opening.move()
  return {
    create: (input) => create(context, input),
    start: (id, signal) => start(context, id, signal),
    stop: (id, timeoutMs, signal) => stop(context, id, timeoutMs, signal),
    endNow: (id) => endNow(context, id),
    remove: (id, signal) => remove(context, id, signal),
    execSync: (id, command, timeoutMs, signal) => execSync(context, id, command, timeoutMs, signal),
    reopenLog: (id, signal) => reopen(context, id, signal),
    updateResources: (id, limits) => updateResources(context, id, limits),
    checkpoint: (id, location, signal) => checkpoint(context, id, location, signal),
    runc: (id) => runcOf(context, entryOf(context, id).record),
    spec: async (id) => {
      const text = await readText(join(context.folders.bundles, entryOf(context, id).record.id, 'config.json'))
      return text === undefined ? undefined : (JSON.parse(text) as OciSpec)
    },
    wait: async (id) => {
      const entry = entryOf(context, id)
      await entry.exited.promise
      return entry.record
    },
    status: (id) => entryOf(context, id).record,
    list: () => [...context.entries.values()].map(({ record }) => record),
    [Symbol.asyncDispose]: async () => {
      await resources.disposeAsync()
      await Promise.all([...context.entries.values()].map(({ tail }) => tail))
    },
  }
}

async function reopen(context: Context, id: string, signal?: AbortSignal): Promise<void> {
  const entry = entryOf(context, id)
  const { phase, logPath } = entry.record
  if (phase !== 'running')
    throw new CriError('FAILED_PRECONDITION', `container ${id} is not running: it has no log to reopen`)
  if (!logPath) return
  try {
    await reopenLog(join(context.folders.bundles, id), logPath, signal)
  } catch (cause) {
    const { monitor } = entry.record
    if (entry.record.phase === 'running' && monitor && isAlive(monitor)) throw cause
    throw new CriError('FAILED_PRECONDITION', `container ${id} has just ended: ${(cause as Error).message}`, { cause })
  }
}
