// An attachment as it was saved. Pure.
import { z } from 'zod'
import { checked, parsedJson } from '../checked.ts'
import { cniCode } from '../errors.ts'
import type { NetworkList, PodNetwork } from '../types.ts'
import type { Attachment } from './cache.ts'
import { checkAttachment } from './call.ts'
import { name, pluginSchema } from './conflist.ts'
import { parseResult } from './parse-result.ts'
import { cniVersions } from './versions.ts'

const text = z.string()
const port = z.number().int()
const mapping = z.object({ hostPort: port, containerPort: port, protocol: text, hostIP: text.optional() })
const flag = z.boolean().optional()
const schema = z.object({
  network: z.object({
    containerId: text,
    ifName: text,
    netns: text,
    pod: z.object({ namespace: text, name: text, uid: text }).optional(),
    portMappings: z.array(mapping).optional(),
    capabilityArgs: z.record(text, z.unknown()).optional(),
    args: z.record(text, text).optional(),
  }),
  list: z.object({
    name,
    cniVersion: z.enum(cniVersions),
    plugins: z.array(pluginSchema).min(1),
    disableCheck: flag,
    disableGC: flag,
    file: text,
  }),
  /** Absent: the ADD had begun. */
  result: z.unknown().optional(),
})

/** @throws CniError naming the file and the field */
export function parseAttachment(content: string, path: string): Attachment {
  const { network, list, result } = checked(path, schema, parsedJson(path, content), cniCode.decoding)
  checkAttachment(network)
  return {
    network: network as PodNetwork,
    list: list as NetworkList,
    ...(result !== undefined && { result: parseResult(path, result, list.cniVersion) }),
  }
}
