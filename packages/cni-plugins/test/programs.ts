// The plugins as programs, built of what the sources are now.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'rolldown'
import { afterAll, beforeAll } from 'vitest'
import { programs as bundle } from '../rolldown.config.ts'

interface Programs extends Disposable {
  /** A folder of CNI programs. */
  folder: string
  /** `nodelet-cni` itself. */
  program: string
}

/** Builds them before the tests of a file, and removes them afterwards. */
export function usePrograms(): () => Programs {
  let programs: Programs | undefined
  beforeAll(async () => {
    programs = await buildPrograms()
  })
  afterAll(() => programs?.[Symbol.dispose]())
  return () => {
    if (!programs) throw new Error('the programs are there once the tests begin')
    return programs
  }
}

async function buildPrograms(): Promise<Programs> {
  // Not in /tmp: native packages are found from where the program is.
  const root = mkdtempSync(join(import.meta.dirname, '.programs-'))
  const program = join(root, 'bin/nodelet-cni.cjs')
  cpSync(join(import.meta.dirname, '../bin'), join(root, 'bin'), { recursive: true })
  await build(bundle(join(root, 'dist/bin')))
  const folder = join(root, 'links')
  execFileSync(program, ['link', folder])
  return { folder, program, [Symbol.dispose]: () => rmSync(root, { recursive: true }) }
}
