// What the node's resolv.conf says, and whether pods can have all of it.
import { readFile } from 'node:fs/promises'
import type { EventRecorder } from '../events.ts'
import { type DnsConfig, maxSearches, maxSearchLength, parseResolvConf } from '../pod/dns.ts'

/** Without a file the node resolves for itself, as the Go kubelet has it. */
export const readResolver = async (file: string): Promise<DnsConfig> =>
  file ? parseResolvConf(await readFile(file, 'utf8')) : { servers: ['127.0.0.1'], searches: ['.'], options: [] }

/** An event of the node for what is cut from each pod that uses the file. */
export async function checkResolver(file: string, events: Pick<EventRecorder, 'recordNode'>): Promise<void> {
  const problem = (message: string): void =>
    events.recordNode({ type: 'Warning', reason: 'CheckLimitsForResolvConf', message })
  let searches: string[]
  try {
    ;({ searches } = await readResolver(file))
  } catch (error) {
    return problem((error as Error).message) // it may come later; pods that need it are told
  }
  const excess =
    searches.length > maxSearches
      ? `search line consisting of more than ${maxSearches} domains`
      : searches.join(' ').length > maxSearchLength
        ? `search line which length is more than allowed ${maxSearchLength} chars`
        : undefined
  if (excess) problem(`Resolv.conf file '${file}' contains ${excess}!`)
}
