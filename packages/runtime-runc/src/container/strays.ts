// Programs of a former life of this process: commands that were under way, and monitors of what was never finished.
import { readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { readText } from '../files.ts'
import { endsWithin, isAlive, killGroup, killNow, processRef } from '../pids.ts'
import type { ProcessRef } from '../pids.ts'
import type { Folders } from './store.ts'

const KILL_LIMIT_MS = 5000
/** How long a command of a former life may take to end by itself. */
const COMMAND_LIMIT_MS = 10_000

/** A process that works on an OCI runtime's root in our run folder: conmon, or the OCI runtime itself. */
export interface Stray {
  ref: ProcessRef
  argv: string[]
}

/** Looks through /proc. */
export async function findStrays({ runc }: Pick<Folders, 'runc'>): Promise<Stray[]> {
  const ours = `${dirname(runc)}/`
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
  const found = await Promise.all(
    pids.map(async (pid) => {
      const argv = ((await textOf(`/proc/${pid}/cmdline`)) ?? '').split('\0')
      const root = argv[argv.indexOf('--root') + 1] ?? ''
      const isOurs = root.startsWith(ours) || argv.some((word) => word.startsWith(`--root=${ours}`))
      const ref = isOurs ? processRef(Number(pid)) : undefined
      return ref ? [{ ref, argv }] : []
    }),
  )
  return found.flat()
}

/** The container that a monitor watches; undefined for other programs. */
export const monitoredId = ({ argv }: Stray): string | undefined =>
  argv.includes('--exit-dir') ? argv[argv.indexOf('-c') + 1] : undefined

/** Kills whatever still makes the container, so that nothing of it appears any more. @throws Error when it stays */
export async function endCreation(folders: Folders, id: string): Promise<void> {
  for (const limit = Date.now() + KILL_LIMIT_MS; ;) {
    const makers = (await findStrays(folders)).filter(({ argv }) => argv.includes(id))
    if (makers.length === 0) return
    if (Date.now() > limit) {
      const pids = makers.map(({ ref }) => ref.pid).join(', ')
      throw new Error(`container ${id} is still being made by processes ${pids}, which SIGKILL does not end`)
    }
    for (const { ref } of makers) killGroup(ref.pid)
    await Promise.all(makers.map(({ ref }) => endsWithin(ref, 100)))
  }
}

/**
 * Ends commands that ran in containers for callers who are gone, and waits for the short commands of the OCI runtime:
 * what they change is then done.
 */
export async function endCommands(folders: Folders): Promise<void> {
  const commands = (await findStrays(folders)).filter((stray) => monitoredId(stray) === undefined)
  await Promise.all(
    commands.map(async ({ ref, argv }) => {
      if (argv.includes('--exec-process-spec')) await endExec(ref, argv)
      // One that makes a container is its monitor's; the container is settled later.
      else if (argv.includes('create')) return
      else if (!argv.includes('exec')) await endsWithin(ref, COMMAND_LIMIT_MS)
      if (isAlive(ref)) killGroup(ref.pid)
    }),
  )
}

/** The program that a conmon runs in a container, which leads a process group, and then conmon. */
async function endExec(conmon: ProcessRef, argv: readonly string[]): Promise<void> {
  const pidFile = argv[argv.indexOf('-p') + 1] ?? ''
  const id = argv[argv.indexOf('-c') + 1] ?? ''
  const pid = Number((await textOf(pidFile)) ?? 0)
  if (pid > 1 && ((await textOf(`/proc/${pid}/cgroup`)) ?? '').includes(id)) {
    killNow(-pid)
    killNow(pid)
    await endsWithin(conmon, 1000) // it reaps the program
  }
}

/** A process may end while it is looked at, which /proc tells in more than one way. */
async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readText(path)
  } catch {
    return undefined // as good as gone
  }
}
