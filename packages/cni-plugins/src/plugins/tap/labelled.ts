// A tap gets the SELinux label of the program that makes it, which this process cannot take: so another one makes it.
import { existsSync, writeFileSync } from 'node:fs'
import { finished, startProgram } from '@nodelet/linux'
import type { NewTap } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'

/** @param netns where the tap is made. @throws CniError; also where SELinux is off */
export async function addLabelledTap(
  { name, multiQueue, owner, group }: NewTap,
  label: string,
  netns: string,
  signal: AbortSignal,
): Promise<void> {
  if (!existsSync('/sys/fs/selinux/enforce')) {
    throw new CniError(cniCode.unsupportedField, `tap: selinuxContext: "${label}": this machine has no SELinux`)
  }
  const add = ['tuntap', 'add', 'mode', 'tap', 'name', name]
  const args = [
    ...add,
    ...(multiQueue ? ['multi_queue'] : []),
    ...(owner === undefined ? [] : ['user', String(owner)]),
    ...(group === undefined ? [] : ['group', String(group)]),
  ]
  const start = () => startProgram('ip', args, { netns, stdio: ['ignore', 'ignore', 'pipe'], signal })
  const { code, stderr } = await finished(withExecLabel(label, start))
  if (code !== 0) throw new CniError(cniCode.internal, `failed to create tap: ${stderr.trim()}`)
}

/** Programs that are started meanwhile get the label. */
function withExecLabel<Value>(label: string, start: () => Value): Value {
  const ofThread = '/proc/thread-self/attr/exec'
  writeFileSync(ofThread, label)
  try {
    return start()
  } finally {
    writeFileSync(ofThread, '\n') // none
  }
}
