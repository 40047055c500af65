// Families of generic netlink.
import { LinuxError } from '../errors.ts'
import { unless } from './links.ts'
import { decodeFamily, encodeFamilyQuestion, GENL_ID_CTRL } from './messages/generic.ts'
import type { NetlinkSocket } from './socket.ts'

/** @param hint what to do where the kernel has no such family @throws LinuxError ENOENT */
export async function familyOf(socket: NetlinkSocket, name: string, hint?: string): Promise<number> {
  const request = { type: GENL_ID_CTRL, call: 'find netlink family', path: name, body: encodeFamilyQuestion(name) }
  const [answer] = await unless('ENOENT', socket.ask(request), [])
  const found = answer && decodeFamily(answer.data)
  if (found === undefined) throw new LinuxError('ENOENT', request.call, name, hint)
  return found
}
