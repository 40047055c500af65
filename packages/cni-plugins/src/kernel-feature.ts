// What the kernel may lack: named in errors, and tried where it harms nobody.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LinuxError, openNetlink, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from './errors.ts'

/** With the kernel's options that they come with. */
const features = {
  veth: 'links of the kind veth (CONFIG_VETH)',
  macvlan: 'links of the kind macvlan (CONFIG_MACVLAN)',
  ipvlan: 'links of the kind ipvlan (CONFIG_IPVLAN)',
  vlan: 'links of the kind vlan (CONFIG_VLAN_8021Q)',
  dummy: 'links of the kind dummy (CONFIG_DUMMY)',
  tap: 'links of the kind tap (CONFIG_TUN)',
  ifb: 'links of the kind ifb (CONFIG_IFB)',
  vrf: 'links of the kind vrf (CONFIG_NET_VRF)',
  tbf: 'the queueing discipline tbf (CONFIG_NET_SCH_TBF)',
  ingress: 'the queueing discipline ingress (CONFIG_NET_SCH_INGRESS)',
  redirect: 'the filter u32 or the action mirred (CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED)',
  rules: 'rules that choose routing tables (CONFIG_IP_MULTIPLE_TABLES)',
}

/** @throws CniError naming the feature where the kernel does not know it */
export async function needing<Value>(feature: keyof typeof features, made: Promise<Value>): Promise<Value> {
  try {
    return await made
  } catch (cause) {
    if (!isMissing(cause)) throw cause
    throw new CniError(cniCode.notAvailable, `this machine's kernel lacks ${features[feature]}`, {
      cause,
      details: (cause as Error).message,
    })
  }
}

/** Unknown kinds of links are not supported, those of qdiscs and filters are not found; nor is the file of taps. */
function isMissing(error: unknown): boolean {
  if (error instanceof LinuxError) {
    return error.code === 'EOPNOTSUPP' || (error.code === 'ENOENT' && /qdisc|filter|redirect/.test(error.call))
  }
  const { code = '', path } = error as { code?: string; path?: string }
  return path === '/dev/net/tun' && ['ENOENT', 'ENODEV', 'ENXIO'].includes(code)
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
