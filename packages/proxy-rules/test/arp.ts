// ARP as another machine of the link sees it: what is asked, what is answered.
import { addressBytes, openFrames, openNetlink } from '@nodelet/linux'

const etherType = 0x0806
const [request, reply] = [1, 2]
/** Of frames: what is done, by whom, for whom. */
const [operationAt, senderAt, targetAt] = [20, 28, 38]

export interface Arp extends Disposable {
  /** Asks for addresses, one after the other; those that are answered. The last one has to be. */
  ask(...addresses: string[]): Promise<string[]>
  /** The address in whose name the link is asked next. */
  nextSender(): Promise<string>
}

/** @param own the address that asks */
export async function openArp(netns: string, link: string, own: string): Promise<Arp> {
  using net = openNetlink({ netns })
  const found = await net.links.get(link)
  if (!found?.mac) throw new Error(`no link ${link}`)
  const hardware = Buffer.from(found.mac.replaceAll(':', ''), 'hex')
  const frames = openFrames({ netns, link: found.index, protocol: etherType })
  const addressAt = (frame: Buffer, at: number): string => [...frame.subarray(at, at + 4)].join('.')
  /** The first that `isLast` names, with all of the kind before it. */
  const read = (operation: number, isLast: (sender: string) => boolean): Promise<string[]> =>
    new Promise((resolve) => {
      const senders: string[] = []
      const note = (frame: Buffer): void => {
        const isOwn = addressAt(frame, senderAt) === own
        if (isOwn || frame.readUInt16BE(operationAt) !== operation) return
        const sender = addressAt(frame, senderAt)
        senders.push(sender)
        if (!isLast(sender)) return
        frames.off('data', note)
        resolve(senders)
      }
      frames.on('data', note)
    })
  const requestFor = (address: string): Buffer => {
    const frame = Buffer.alloc(targetAt + 4)
    frame.fill(0xff, 0, 6)
    hardware.copy(frame, 6)
    frame.writeUInt16BE(etherType, 12)
    // Ethernet, IPv4, their lengths.
    frame.set([0, 1, 8, 0, 6, 4, 0, request], 14)
    hardware.copy(frame, 22)
    frame.set(addressBytes(own), senderAt)
    frame.set(addressBytes(address), targetAt)
    return frame
  }
  return {
    ask: async (...addresses) => {
      const answers = read(reply, (sender) => sender === addresses.at(-1))
      for (const address of addresses)
        await new Promise<void>((resolve, reject) =>
          frames.write(requestFor(address), (error) => (error ? reject(error) : resolve())),
        )
      return answers
    },
    nextSender: async () => (await read(request, () => true))[0] ?? '',
    [Symbol.dispose]: () => void frames.destroy(),
  }
}
