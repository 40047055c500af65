// Tables of nftables: whether they are there. @see nft(8)
import { LinuxError } from '../errors.ts'
import { string } from './messages/codec.ts'
import { encode } from './messages/message.ts'
import { NETLINK_NETFILTER, openSocket } from './socket.ts'

const NFNL_SUBSYS_NFTABLES = 10
const NFT_MSG_GETTABLE = (NFNL_SUBSYS_NFTABLES << 8) | 1
const NFTA_TABLE_NAME = 1
const families = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 }

export type NftFamily = keyof typeof families

export interface Nftables {
  /** False also where the kernel has no nf_tables. */
  hasTable(family: NftFamily, name: string): Promise<boolean>
}

export const createNftables = (netns: string | undefined): Nftables => ({
  async hasTable(family, name) {
    using socket = openSocket(NETLINK_NETFILTER, netns)
    // After `struct nfgenmsg`: family, version, resource.
    const body = Buffer.concat([
      Buffer.from([families[family], 0, 0, 0]),
      encode([[NFTA_TABLE_NAME, string.encode(name)]]),
    ])
    try {
      await socket.ask({ type: NFT_MSG_GETTABLE, call: 'get table', path: `${family} ${name}`, body })
      return true
    } catch (error) {
      const { code } = error as LinuxError
      if (error instanceof LinuxError && ['ENOENT', 'EINVAL', 'EOPNOTSUPP'].includes(code)) return false
      throw error
    }
  },
})
