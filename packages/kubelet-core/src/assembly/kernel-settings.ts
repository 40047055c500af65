// KubeletConfiguration `protectKernelDefaults`: the kernel is as a node's is to be, or the kubelet does not start.
import { readFile } from 'node:fs/promises'

/** Below `/proc/sys`. */
const wanted: Readonly<Record<string, number>> = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
}

/** @throws Error naming each setting that is another. Nothing is changed. */
export async function checkKernelSettings(folder: string = '/proc/sys'): Promise<void> {
  const problems: string[] = []
  for (const [name, expected] of Object.entries(wanted)) {
    const actual = Number(await readFile(`${folder}/${name}`, 'utf8'))
    if (actual !== expected) {
      problems.push(`invalid kernel flag: ${name}, expected value: ${expected}, actual value: ${actual}`)
    }
  }
  if (problems.length > 0) throw new Error(problems.length === 1 ? problems[0] : `[${problems.join(', ')}]`)
}
