// What this machine's SELinux policy has for containers.
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { readText } from '../files.ts'
import { parseLabel } from './labels.ts'
import type { PolicyLabels } from './labels.ts'

/** Where the policy says nothing. */
const usual: PolicyLabels = {
  process: 'system_u:system_r:container_t:s0',
  mount: 'system_u:object_r:container_file_t:s0',
  readOnly: 'system_u:object_r:container_ro_file_t:s0',
}

export async function hasSelinux(): Promise<boolean> {
  try {
    await access('/sys/fs/selinux/enforce')
    return true
  } catch {
    return false // not compiled in, not enabled, or not mounted: there are no labels either way
  }
}

/**
 * The labels that the policy's `lxc_contexts` gives to containers.
 *
 * @param folder where policies are configured
 * @throws SpecError when a label there is none
 */
export async function readDefaultLabels(folder: string = '/etc/selinux'): Promise<PolicyLabels> {
  const policy = valueOf((await readText(join(folder, 'config'))) ?? '', 'SELINUXTYPE') ?? 'targeted'
  const contexts = (await readText(join(folder, policy, 'contexts/lxc_contexts'))) ?? ''
  const file = valueOf(contexts, 'file')
  const labels = {
    process: valueOf(contexts, 'process') ?? usual.process,
    mount: file ?? usual.mount,
    readOnly: valueOf(contexts, 'ro_file') ?? file ?? usual.readOnly,
  }
  for (const label of Object.values(labels)) parseLabel(label)
  return labels
}

/** Of a line `key = "value"`, quotes or not. */
function valueOf(text: string, key: string): string | undefined {
  return new RegExp(`^\\s*${key}\\s*=\\s*"?([^"\\s#]+)"?`, 'm').exec(text)?.[1]
}
