// What folders really take on the disk.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** Of the folders of one name in all folders of another: hard links are counted once. */
export function takenBelow(folder: string, name: string): { bytes: number; inodes: number } {
  const paths = readdirSync(folder)
    .map((each) => join(folder, each, name))
    .filter((path) => existsSync(path))
  const sum = (unit: string): number =>
    paths.length === 0
      ? 0
      : execFileSync('du', ['-s', '-x', unit, ...paths], { encoding: 'utf8' })
          .split('\n')
          .reduce((all, line) => all + Number(line.split('\t')[0]), 0)
  return { bytes: sum('-B1'), inodes: sum('--inodes') }
}
