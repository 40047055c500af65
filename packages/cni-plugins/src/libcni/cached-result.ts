// The format in which libcni keeps results: `results/NETWORK-CONTAINERID-IFNAME`. Pure.
import { z } from 'zod'
import { checked, parsedJson } from '../checked.ts'
import { cniCode } from '../errors.ts'
import type { CniResult, NetworkList, PodNetwork } from '../types.ts'
import type { Attachment } from './cache.ts'
import { checkAttachment } from './call.ts'
import { argsOf } from './cni-args.ts'
import { parseNetworkList } from './conflist.ts'
import { parseResult } from './parse-result.ts'
import { toVersion } from './print-result.ts'

export function cachedResult(network: PodNetwork, list: NetworkList, result: CniResult): object {
  const { containerId, ifName, netns, capabilityArgs, portMappings } = network
  const { file: _, ...config } = list
  return {
    kind: 'cniCacheV1',
    containerId,
    config: Buffer.from(JSON.stringify(config)).toString('base64'),
    ifName,
    networkName: list.name,
    netns,
    cniArgs: Object.entries(argsOf(network)),
    ...((portMappings || capabilityArgs) && {
      capabilityArgs: { ...capabilityArgs, ...(portMappings && { portMappings }) },
    }),
    result: toVersion(result, list.cniVersion),
  }
}

const schema = z.object({
  kind: z.literal('cniCacheV1'),
  containerId: z.string(),
  ifName: z.string(),
  config: z.base64(),
  netns: z.string().default(''),
  cniArgs: z.array(z.tuple([z.string(), z.string()])).nullish(),
  capabilityArgs: z.record(z.string(), z.unknown()).nullish(),
  result: z.unknown(),
})

/** @throws CniError naming the file and the field */
export function parseCachedResult(content: string, path: string): Attachment {
  const { config, cniArgs, capabilityArgs, result, containerId, ifName, netns } = checked(
    path,
    schema,
    parsedJson(path, content),
    cniCode.decoding,
  )
  checkAttachment({ containerId, ifName })
  const list = parseNetworkList(Buffer.from(config, 'base64').toString(), path)
  return {
    network: {
      containerId,
      ifName,
      netns,
      ...(cniArgs && { args: Object.fromEntries(cniArgs) }),
      ...(capabilityArgs && { capabilityArgs }),
    },
    list,
    result: parseResult(path, result, list.cniVersion),
  }
}
