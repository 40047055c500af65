// Features of links: what is left to the hardware. @see ethtool(8)
import { familyOf } from './generic.ts'
import { decodeFeatures, encodeFeatureChange, encodeFeatureQuestion } from './messages/feature.ts'
import type { Feature } from './messages/feature.ts'
import type { LinkRef } from './messages/link.ts'
import { NETLINK_GENERIC, openSocket } from './socket.ts'

export interface Features {
  list(link: LinkRef): Promise<Feature[]>
  /** @param wanted kernel's names of features, for instance `{ 'tx-checksum-ip-generic': false }` */
  set(link: LinkRef, wanted: Readonly<Record<string, boolean>>): Promise<void>
  /** Switches all checksums of packets sent that can be switched. */
  setTxChecksum(link: LinkRef, on: boolean): Promise<void>
}

/** The same in all namespaces as long as the machine is up. */
let family: number | undefined

export function createFeatures(netns: string | undefined): Features {
  const ask = async (call: string, link: LinkRef, body: Buffer): Promise<Feature[]> => {
    using socket = openSocket(NETLINK_GENERIC, netns)
    family ??= await familyOf(socket, 'ethtool')
    const [answer] = await socket.ask({ type: family, call, path: String(link), body })
    return answer ? decodeFeatures(answer.data) : []
  }
  const list: Features['list'] = async (link) => ask('list features of link', link, encodeFeatureQuestion(link))
  const set: Features['set'] = async (link, wanted) =>
    void (await ask(`set ${Object.keys(wanted).join(', ')} of link`, link, encodeFeatureChange(link, wanted)))
  return {
    list,
    set,
    async setTxChecksum(link, on) {
      const checksums = (await list(link)).filter(
        ({ name, changeable }) => changeable && name.startsWith('tx-checksum-'),
      )
      await set(link, Object.fromEntries(checksums.map(({ name }) => [name, on])))
    },
  }
}
