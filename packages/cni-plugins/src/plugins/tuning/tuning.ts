// tuning: settings of a pod's link and of its network namespace.
import { readFileSync, writeFileSync } from 'node:fs'
import { inNamespace, isNamespacePinned, openNetlink } from '@nodelet/linux'
import type { Link, LinkSettings } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { wantedMac } from '../../interface/mac.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult } from '../../types.ts'
import { undo } from '../../undo.ts'
import { readBackup, removeBackup, removeOtherBackups, saveBackup } from './backup.ts'
import type { Backup } from './backup.ts'
import { parseAllowList, parseTuning, sysctlFiles } from './config.ts'
import type { TuningConfig } from './config.ts'

const allowListFile = '/etc/cni/tuning/allowlist.conf'

export const tuning: DefinedPlugin = definePlugin<TuningConfig>({
  name: 'tuning',
  config: parseTuning,
  async add(call, host) {
    const { config, networkName, network, prevResult } = call
    const { netns, ifName } = network
    if (!prevResult) throw new CniError(cniCode.badConfig, 'tuning: Required prevResult missing')
    const files = sysctlFiles(config, ifName, allowList())
    const wanted = wantedOf(call)
    const written: [file: string, before: string][] = []
    try {
      for (const [file, value] of files) written.push([file, exchange(netns, file, value)])
      if (Object.keys(wanted).length === 0) return prevResult
      using inside = openNetlink({ netns })
      const link = await inside.links.get(ifName)
      if (!link) throw wrong(`failed to get ${JSON.stringify(ifName)}: it is not in ${netns}`)
      saveBackup(config.dataDir, network, { ...backupOf(link, wanted), network: networkName })
      await inside.links.set(link.index, wanted)
      return withSettings(prevResult, ifName, wanted)
    } catch (error) {
      await undo(
        host,
        async () => restore(call),
        ...written.toReversed().map(
          ([file, before]) =>
            async () =>
              exchange(netns, file, before),
        ),
      )
      throw error
    }
  },

  async del(call, host) {
    await undo(host, async () => restore(call))
  },

  async check(call) {
    const { config, network } = call
    for (const [file, value] of sysctlFiles(config, network.ifName)) {
      const now = inNamespace('net', network.netns, () => readSysctl(file))
      if (words(now) === words(value)) continue
      throw wrong(`configured value of /proc/sys/${file} is ${value}, current value is ${now}`)
    }
    using inside = openNetlink({ netns: network.netns })
    const link = await inside.links.get(network.ifName)
    if (!link) throw wrong(`Cannot find container link ${network.ifName}`)
    for (const [name, value] of Object.entries(wantedOf(call))) {
      const now = link[name as keyof Link]
      if (now !== value)
        throw wrong(`configured ${name} of ${network.ifName} is ${value}, current value is ${String(now)}`)
    }
  },

  async gc({ config, networkName, valid }) {
    removeOtherBackups(config.dataDir, networkName, valid)
  },

  async status({ config }) {
    try {
      sysctlFiles(config, 'eth0', allowList())
    } catch (error) {
      throw new CniError(cniCode.notAvailable, (error as Error).message, { cause: error })
    }
  },
})

const wrong = (message: string): CniError => new CniError(cniCode.internal, `tuning: ${message}`)

/** Undefined: all sysctls of the network are allowed. */
function allowList(): RegExp[] | undefined {
  try {
    return parseAllowList(readFileSync(allowListFile, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Only what is to be changed. */
function wantedOf({ config, request }: PluginCall<TuningConfig>): LinkSettings {
  const { mtu, promisc, allmulti, txQLen } = config
  const mac = wantedMac('tuning', request)
  return {
    ...(mac !== undefined && { mac }),
    ...(promisc && { promiscuous: true }),
    ...(mtu !== undefined && { mtu }),
    ...(allmulti !== undefined && { allMulticast: allmulti }),
    ...(txQLen !== undefined && { txQueueLength: txQLen }),
  }
}

function backupOf(link: Link, wanted: LinkSettings): Backup {
  return {
    ...(wanted.mac !== undefined && link.mac !== undefined && { mac: link.mac }),
    ...(wanted.promiscuous !== undefined && { promisc: link.promiscuous }),
    ...(wanted.mtu !== undefined && { mtu: link.mtu }),
    ...(wanted.allMulticast !== undefined && { allmulti: link.allMulticast }),
    ...(wanted.txQueueLength !== undefined && { txQLen: link.txQueueLength }),
  }
}

/** Fine where there is nothing to restore, or no link any more. */
async function restore({ config: { dataDir }, network }: PluginCall<TuningConfig>): Promise<void> {
  const backup = readBackup(dataDir, network)
  try {
    if (!backup || !isNamespacePinned(network.netns)) return
    const { mac, promisc, mtu, allmulti, txQLen } = backup
    using inside = openNetlink({ netns: network.netns })
    const link = await inside.links.get(network.ifName)
    if (!link) return
    await inside.links.set(link.index, {
      ...(mac !== undefined && { mac }),
      ...(promisc !== undefined && { promiscuous: promisc }),
      ...(mtu !== undefined && { mtu }),
      ...(allmulti !== undefined && { allMulticast: allmulti }),
      ...(txQLen !== undefined && { txQueueLength: txQLen }),
    })
  } finally {
    removeBackup(dataDir, network)
  }
}

/** The kernel puts tabs between several. */
const words = (value: string): string => value.trim().replaceAll(/\s+/g, ' ')
const readSysctl = (file: string): string => readFileSync(`/proc/sys/${file}`, 'utf8').trimEnd()

/** Writes a sysctl of the pod's and gives what it was. @throws CniError naming file and value */
function exchange(netns: string, file: string, value: string): string {
  return inNamespace('net', netns, () => {
    try {
      const before = readSysctl(file)
      writeFileSync(`/proc/sys/${file}`, value)
      return before
    } catch (cause) {
      throw new CniError(cniCode.io, `tuning: sysctl: /proc/sys/${file} cannot be set to ${JSON.stringify(value)}`, {
        cause,
        details: (cause as Error).message,
      })
    }
  })
}

/** What other plugins tell of the link is true again. */
function withSettings(result: CniResult, ifName: string, { mac, mtu }: LinkSettings): CniResult {
  const interfaces = result.interfaces.map((one) =>
    one.name === ifName
      ? {
          ...one,
          ...(mac !== undefined && { mac }),
          ...(mtu !== undefined && one.mtu !== undefined && { mtu }),
        }
      : one,
  )
  return { ...result, interfaces }
}
