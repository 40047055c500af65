// Names of chains and links that belong to one pod.
import { createHash } from 'node:crypto'

const sha512 = (text: string): string => createHash('sha512').update(text).digest('hex')

/** The chain of a pod's masqueraded traffic. */
export const masqueradeChain = (network: string, containerId: string): string =>
  `CNI-${sha512(network + containerId).slice(0, 24)}`

/** The chain of a pod's host ports. */
export const hostPortChain = (network: string, containerId: string): string =>
  `CNI-DN-${sha512(network + containerId).slice(0, 21)}`

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
