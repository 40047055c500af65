// Folders of NFS servers. mount(8) and umount(8) do it: what hangs with a server hangs there, and not here.
import { type ExecFileException, execFile } from 'node:child_process'
import { isIPv6 } from 'node:net'
import { promisify } from 'node:util'
import { makeVolumeFolder } from '../volume/atomic-folder.ts'
import { removeEmpty } from '../volume/mounts.ts'
import type { NfsPlan } from '../volume/plan.ts'
import { mountAt } from './bind.ts'

const run = promisify(execFile)
/** How long the programs may take, in milliseconds. */
const [mountMs, unmountMs] = [120_000, 60_000]

/** Mounts unless it is mounted. @throws Error in the words of the Go kubelet, with what mount said */
export async function setUpNfs(plan: NfsPlan, target: string, signal: AbortSignal | undefined): Promise<void> {
  if (await mountAt(target)) return
  await makeVolumeFolder(target, 0o750)
  const options = [...new Set([...plan.mountOptions, ...(plan.readOnly ? ['ro'] : [])])].toSorted()
  const server = isIPv6(plan.server) ? `[${plan.server}]` : plan.server
  const words = [
    '-t',
    'nfs',
    ...(options.length > 0 ? ['-o', options.join(',')] : []),
    `${server}:${plan.path}`,
    target,
  ]
  try {
    await run('mount', words, { timeout: mountMs, ...(signal && { signal }) })
  } catch (cause) {
    if (!(await mountAt(target))) await removeEmpty(target)
    signal?.throwIfAborted()
    throw failure('mount', 'Mounting', words, cause)
  }
}

/** Safe to run again. One whose server does not answer is unmounted by force after a minute. @throws Error with what umount said */
export async function unmountNfs(path: string): Promise<void> {
  if (!(await mountAt(path))) return
  try {
    await run('umount', ['-c', path], { timeout: unmountMs })
  } catch (cause) {
    const words = (cause as ExecFileException).killed ? ['-c', '-f', path] : undefined
    if (!words) throw failure('umount', 'Unmounting', ['-c', path], cause)
    await run('umount', words, { timeout: unmountMs }).catch((error: unknown) => {
      throw failure('umount', 'Unmounting', words, error)
    })
  }
}

function failure(program: string, doing: string, words: readonly string[], cause: unknown): Error {
  const { code, stderr = '', message } = cause as ExecFileException & { stderr?: string }
  const how = typeof code === 'number' ? `exit status ${code}` : message
  const text = `${doing.slice(0, -3).toLowerCase()} failed: ${how}\n${doing} command: ${program}\n${doing} arguments: ${words.join(' ')}\nOutput: ${stderr}`
  return new Error(text, { cause })
}
