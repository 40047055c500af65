// What a driver answered, claim by claim. Pure.
import type { Device } from '../gen/dra.ts'
import type { ClaimDevice, ClaimRef } from './state.ts'

interface Answer {
  error: string
}

/**
 * Claim UID → what came of it, an error for those that the driver failed or skipped.
 * @param method for messages, `NodePrepareResources` or `NodeUnprepareResources`
 * @throws Error when the driver tells of a claim that it was not asked for
 */
export function outcomes<T extends Answer>(
  method: string,
  asked: readonly ClaimRef[],
  answers: Readonly<Record<string, T>>,
): Map<string, T | Error> {
  const stray = Object.keys(answers).find((uid) => !asked.some((claim) => claim.uid === uid))
  if (stray !== undefined) throw new Error(`${method} returned result for unknown claim UID ${stray}`)
  return new Map(
    asked.map(({ uid, name }): [string, T | Error] => {
      const answer = answers[uid]
      if (!answer) return [uid, new Error(`${method} skipped ResourceClaim ${name}`)]
      return [uid, answer.error ? new Error(`${method} failed for ResourceClaim ${name}: ${answer.error}`) : answer]
    }),
  )
}

export const claimDeviceOf = ({ poolName, deviceName, shareId, requestNames, cdiDeviceIds }: Device): ClaimDevice => ({
  pool: poolName,
  device: deviceName,
  shareId,
  requests: requestNames,
  cdiIds: cdiDeviceIds,
})
