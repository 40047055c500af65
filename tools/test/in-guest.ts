// Runs test files in the User-Mode Linux guest, which has its own kernel: one CPU, slow beside other tests.
import { execFile } from 'node:child_process'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const root = resolve(import.meta.dirname, '../..')

/** Longer than any guest is given. */
export const guestTestMs = 1_000_000

/**
 * @param files with words of vitest such as `-t` after them. @param within a program of the guest that the tests are run by
 * @throws Error with the end of what the guest printed, when a test fails or none runs
 */
export async function testInGuest(
  files: readonly string[],
  memory = '2G',
  within: readonly string[] = [],
): Promise<void> {
  // Modules are loaded once for all files.
  const vitest = [join(root, 'node_modules/.bin/vitest'), 'run', '--root', root, '--no-isolate', '--maxWorkers=1']
  const patient = ['--testTimeout=180000', '--hookTimeout=180000']
  const guest = ['-d', '0', '-m', memory, '-t', '900', '--', ...within, ...vitest, ...patient, ...files]
  const options = { cwd: root, env: { ...process.env, NO_COLOR: '1', CI: '1' }, maxBuffer: 64 * 1024 * 1024 }
  const { stdout } = await promisify(execFile)(join(root, 'tools/uml-run'), guest, options).catch((error: unknown) => {
    const { stdout: out = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`tests in the guest failed: ${(out + stderr).slice(-6000)}`, { cause: error })
  })
  if (!/Tests +[1-9]\d* passed( \| \d+ skipped)? \(/.test(stdout))
    throw new Error(`no tests ran in the guest: ${stdout.slice(-2000)}`)
}
