// One runtime per state folder.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isAlive, processRef } from '../pids.ts'
import type { ProcessRef } from '../pids.ts'

/**
 * Takes the folder until disposed. A lock whose process is gone is taken over.
 *
 * @throws Error naming the process that has it.
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  const path = join(folder, 'lock.json')
  const own = JSON.stringify(processRef(process.pid))
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      await writeFile(path, own, { flag: 'wx', mode: 0o600 })
      return { [Symbol.asyncDispose]: () => rm(path, { force: true }) }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      const holder = parse(await readFile(path, 'utf8'))
      if (holder && isAlive(holder)) {
        throw new Error(`${folder} is in use by process ${holder.pid}: stop it or use another folder`, { cause: error })
      }
      await rm(path, { force: true })
    }
  }
  throw new Error(`${folder} was taken by another process just now: try again`)
}

function parse(text: string): ProcessRef | undefined {
  try {
    return JSON.parse(text) as ProcessRef
  } catch {
    return undefined // cut off by a crash: nobody holds it
  }
}
