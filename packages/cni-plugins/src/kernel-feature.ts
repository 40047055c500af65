// What the kernel may lack: named in errors, and tried where it harms nobody.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LinuxError, openNetlink, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from './errors.ts'

/** Unknown kinds of links and actions, and of qdiscs and filters. */
const isMissing = (error: unknown): boolean =>
  error instanceof LinuxError && (error.code === 'EOPNOTSUPP' || error.code === 'ENOENT')

/**
 * @param feature what the work needs, for instance `links of the kind vrf (CONFIG_NET_VRF)`
 * @throws CniError naming plugin and feature where the kernel does not know it
 */
export async function needing<Value>(plugin: string, feature: string, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work()
  } catch (cause) {
    if (!isMissing(cause)) throw cause
    throw new CniError(cniCode.notAvailable, `${plugin}: this kernel lacks ${feature}`, {
      cause,
      details: (cause as Error).message,
    })
  }
}

/** Tries something in a network namespace that goes right after. */
export async function onTrial(work: (netlink: Netlink) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-cni-trial-'))
  const netns = join(folder, 'net')
  try {
    pinNamespaces({ paths: { net: netns } })
    using netlink = openNetlink({ netns })
    await work(netlink)
  } finally {
    unpinNamespace(netns)
    rmSync(folder, { recursive: true })
  }
}
