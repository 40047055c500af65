// `nodelet trace`: what the rules do with a packet to a Service.
import type { Inquiry, InquiryAnswer } from '@nodelet/proxy-rules'
import { foldersOf, type NodeConfig } from '../config.ts'
import { askTrace } from '../control/client.ts'
import { CommandError } from '../errors.ts'

const percent = (probability: number): string => `${Number((probability * 100).toFixed(1))} %`

/** The answer in words, a line each; with the rules that the packet passed. Pure. */
export function traceLines({ mode, packet, service, front, traces }: InquiryAnswer): string[] {
  const { protocol, source, destination, destinationPort, inputInterface } = packet
  const way = inputInterface === undefined ? 'sent by the node' : `in by ${inputInterface}`
  const what = service === undefined ? 'no Service’s' : `${front} of ${service}`
  return [
    `${protocol} ${source} → ${destination} port ${destinationPort}, ${way}; ${what}; ${mode}`,
    ...traces.flatMap(({ verdict, translation, masquerade, probability, rules }) => [
      [
        percent(probability).padStart(6),
        verdict,
        ...(translation ? [`→ ${translation.address} port ${translation.port}`] : []),
        ...(masquerade ? ['masqueraded'] : []),
      ].join('  '),
      ...rules.map(({ table, chain, rule, element }) =>
        [
          '       ',
          ...(table === undefined ? [] : [table]),
          chain,
          rule,
          ...(element === undefined ? [] : [`(${element})`]),
        ].join(' '),
      ),
    ]),
  ]
}

/** @throws CommandError when no agent runs, or it runs no proxy */
export async function trace(config: NodeConfig, inquiry: Inquiry, { json = false }: { json?: boolean }): Promise<void> {
  const answer = await askTrace(foldersOf(config).controlSocket, inquiry)
  if (!answer) throw new CommandError('no nodelet runs here', 'start one with nodelet up, or name its --root and --run')
  if ('error' in answer) throw new CommandError(answer.error, 'nodelet trace --help tells what can be asked')
  if (json) console.log(JSON.stringify(answer, null, 2))
  else for (const line of traceLines(answer)) console.log(line)
}
