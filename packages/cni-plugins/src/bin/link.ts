// Links of plugins in a folder of CNI programs.
import { mkdir, realpath, rename, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'

/** Replaces what has these names, each at once: no caller finds a name without a program. */
export async function linkPlugins(folder: string, names: readonly string[]): Promise<void> {
  const program = await realpath(process.argv[1] ?? '')
  await mkdir(folder, { recursive: true })
  for (const name of names) {
    const aside = join(folder, `.${name}-${process.pid}`)
    await rm(aside, { force: true })
    await symlink(program, aside)
    await rename(aside, join(folder, name))
  }
}
