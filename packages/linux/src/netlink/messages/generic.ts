// Generic netlink: families of messages that are found by name. Pure. @see the kernel's Documentation/networking/generic_netlink
import { string, u16 } from './codec.ts'
import { decodeBody, encode } from './message.ts'
import type { Attribute } from './message.ts'

/** Type of the requests that ask for a family's number. */
export const GENL_ID_CTRL = 16
const CTRL_CMD_GETFAMILY = 3
const CTRL_ATTR = { FAMILY_ID: 1, FAMILY_NAME: 2 }
/** Bytes of `struct genlmsghdr`. */
export const genericHeadBytes = 4

/** The body of a message of a family, all of which are at their first version. */
export const encodeGeneric = (command: number, attributes: readonly Attribute[]): Buffer =>
  Buffer.concat([Buffer.from([command, 1, 0, 0]), encode(attributes)])

export const encodeFamilyQuestion = (name: string): Buffer =>
  encodeGeneric(CTRL_CMD_GETFAMILY, [[CTRL_ATTR.FAMILY_NAME, string.encode(name)]])

export function decodeFamily(data: Buffer): number | undefined {
  const id = decodeBody(data, genericHeadBytes).get(CTRL_ATTR.FAMILY_ID)
  return id && u16.decode(id)
}
