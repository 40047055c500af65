// Names of chains and links that belong to one pod.
import { createHash } from 'node:crypto'
import type { AttachmentKey } from './types.ts'

const sha512 = (text: string): string => createHash('sha512').update(text).digest('hex')

/** The chain of a pod's masqueraded traffic. */
export const masqueradeChain = (network: string, containerId: string): string =>
  `CNI-${sha512(network + containerId).slice(0, 24)}`

/** The chain of a pod's host ports. */
export const hostPortChain = (network: string, containerId: string): string =>
  `CNI-DN-${sha512(network + containerId).slice(0, 21)}`

/** Of what the reference plugins made before version 0.7 for a pod's host ports. */
export const oldHostPortChain = (network: string, containerId: string): string =>
  `CNI-SN-${sha512(network + containerId).slice(0, 21)}`

/** What the rules of a network begin with in nftables; with an attachment: what its own do. */
export function nftMark(network: string, attachment?: AttachmentKey): string {
  const own = attachment && sha512(`${attachment.ifName}:${attachment.containerId}`).slice(0, 16)
  return `${sha512(network).slice(0, 16)}-${own ?? ''}`
}

/** A link name as the kernel allows it. */
export const vethName = (): string =>
  `veth${Math.trunc(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0')}`

/** The link that a pod's outgoing packets are held up at. */
export const ifbName = (network: string, containerId: string): string =>
  `bwp${sha512(network + containerId).slice(0, 12)}`

/** A word in the quotes of iptables-restore. */
export const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, '\\$&')}"`

/** As long as iptables takes. */
const longestComment = 255

/** What marks a pod's rules, quoted. */
export const comment = (network: string, containerId: string, before = ''): string =>
  quoted(`${before}name: "${network}" id: "${containerId}"`.slice(0, longestComment))

/** The containers that have rules in a table as iptables-save prints it, by their comments. */
export function containersOf(saved: readonly string[], network: string): string[] {
  const ids = saved.flatMap((line) => {
    const [, name, id] = /--comment "[^"]*name: \\"([^"\\]+)\\" id: \\"([^"\\]+)\\""/.exec(line) ?? []
    return name === network && id !== undefined ? [id] : []
  })
  return [...new Set(ids)]
}
