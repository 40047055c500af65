// Kinds of links that a kernel may lack.
import { LinuxError } from '@nodelet/linux'
import { CniError, cniCode } from '../errors.ts'

/** The kernel's options that they come with. */
const options = {
  veth: 'CONFIG_VETH',
  macvlan: 'CONFIG_MACVLAN',
  ipvlan: 'CONFIG_IPVLAN',
  vlan: 'CONFIG_VLAN_8021Q',
  dummy: 'CONFIG_DUMMY',
  tap: 'CONFIG_TUN',
}

/** What is to make a link of a kind. @throws CniError naming the feature when the kernel does not know the kind */
export async function ofKind<Value>(kind: keyof typeof options, made: Promise<Value>): Promise<Value> {
  try {
    return await made
  } catch (cause) {
    if (!isUnknown(cause)) throw cause
    const message = `this machine's kernel has no ${kind} links: it lacks ${options[kind]}`
    throw new CniError(cniCode.notAvailable, message, { details: (cause as Error).message, cause })
  }
}

function isUnknown(error: unknown): boolean {
  if (error instanceof LinuxError) return error.code === 'EOPNOTSUPP'
  const { code = '', path } = error as { code?: string; path?: string }
  return path === '/dev/net/tun' && ['ENOENT', 'ENODEV', 'ENXIO'].includes(code)
}
