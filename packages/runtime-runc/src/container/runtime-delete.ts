// Taking a container away from its OCI runtime, with or without the runtime's help.
import { dirname, join } from 'node:path'
import { readText, removeTree } from '../files.ts'
import { monitorCgroup } from '../spec/cgroup-path.ts'
import { RuncError } from '../runc.ts'
import type { Runc, RuncErrorCode } from '../runc.ts'
import type { Context } from './context.ts'

/** What a runtime says of a container that has ended. */
const ended: readonly RuncErrorCode[] = ['NOT_FOUND', 'NOT_RUNNING']

/** The cgroup of a container's bundle, and its monitor's; undefined when there is none, or systemd makes it. */
export async function cgroupsOf(
  { folders }: Pick<Context, 'folders'>,
  id: string,
): Promise<{ own: string; monitor: string | undefined } | undefined> {
  const config = await readText(join(folders.bundles, id, 'config.json'))
  const own = config === undefined ? undefined : pathIn(config)
  if (!own?.startsWith('/') || !own.endsWith(`/${id}`)) return undefined
  return { own, monitor: monitorCgroup('cgroupfs', dirname(own), id) }
}

/**
 * Kills what runs of the container and has the runtime forget it. A runtime that hangs or fails is told of, and its work
 * is done in its place: a container must not stay for ever because of it.
 *
 * @throws Error the runtime's, when its work cannot be done without it.
 */
export async function deleteFromRuntime(context: Context, id: string, runc: Runc): Promise<void> {
  try {
    await runc.delete(id, { force: true })
  } catch (cause) {
    const cgroup = (await cgroupsOf(context, id))?.own
    if (cgroup === undefined) throw cause
    await context.cgroups.kill(cgroup)
    await context.cgroups.remove(cgroup)
    await removeTree(join(runc.root, id))
    const { message } = cause as Error
    context.onProblem(new Error(`${message}: its processes, cgroup and state were removed without it`, { cause }))
  }
}

/** Kills all processes of a container. */
export async function killAll(context: Context, id: string, runc: Runc): Promise<void> {
  try {
    await runc.kill(id, 'SIGKILL', { all: true })
  } catch (cause) {
    if (cause instanceof RuncError && ended.includes(cause.code)) return // and may be removed already
    const cgroup = (await cgroupsOf(context, id))?.own
    if (cgroup === undefined) throw cause
    await context.cgroups.kill(cgroup)
  }
}

function pathIn(config: string): string | undefined {
  try {
    return (JSON.parse(config) as { linux?: { cgroupsPath?: string } }).linux?.cgroupsPath
  } catch {
    return undefined // cut off: then nothing was made from it
  }
}
