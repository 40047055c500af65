// Accounting objects of netfilter as messages of nfnetlink and back. Pure. @see nfacct(8), <linux/netfilter/nfnetlink_acct.h>
import { be64, string } from './codec.ts'
import { decodeBody, encode } from './message.ts'

const NFNL_SUBSYS_ACCT = 7
const command = (number: number): number => (NFNL_SUBSYS_ACCT << 8) | number
export const NFNL_MSG_ACCT: Readonly<Record<'NEW' | 'GET' | 'DEL', number>> = {
  NEW: command(0),
  GET: command(1),
  DEL: command(3),
}
const NFACCT = { NAME: 1, PKTS: 2, BYTES: 3 }
const headBytes = 4

/** What the rules that name an accounting object have counted since it was made. */
export interface Account {
  /** At most 31 bytes. */
  name: string
  packets: number
  bytes: number
}

/** Of one object, or without a name of all. After `struct nfgenmsg`. */
export const encodeAccountName = (name?: string): Buffer =>
  Buffer.concat([Buffer.alloc(headBytes), encode(name === undefined ? [] : [[NFACCT.NAME, string.encode(name)]])])

/** @throws RangeError for what is none */
export function decodeAccount(data: Buffer): Account {
  const attributes = decodeBody(data, headBytes)
  const part = (type: number): Buffer => attributes.get(type) ?? Buffer.alloc(0)
  return {
    name: string.decode(part(NFACCT.NAME)),
    packets: be64.decode(part(NFACCT.PKTS)),
    bytes: be64.decode(part(NFACCT.BYTES)),
  }
}
