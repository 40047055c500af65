// All checks of a real runtime as cases for any test runner.
import type { Checks, ValidationRuntime } from './suite-checks.ts'
import { containerChecks } from './suite-containers.ts'
import { execChecks } from './suite-exec.ts'
import { idempotenceChecks } from './suite-idempotence.ts'
import { imageChecks } from './suite-images.ts'
import { listChecks } from './suite-lists.ts'
import { logChecks } from './suite-logs.ts'
import { imageMountChecks, mountChecks } from './suite-mounts.ts'
import { namespaceChecks } from './suite-namespaces.ts'
import { networkChecks } from './suite-network.ts'
import { privilegeChecks } from './suite-privileges.ts'
import { runtimeChecks } from './suite-runtime.ts'
import { sandboxChecks } from './suite-sandboxes.ts'
import { seccompChecks } from './suite-seccomp.ts'
import { settingChecks } from './suite-settings.ts'
import { statsChecks } from './suite-stats.ts'
import { userChecks } from './suite-users.ts'

/** A check by its name: hand it to any test runner. */
export interface ValidationCase {
  name: string
  /** Throws an `AssertionError` where the runtime falls short, a `SuiteSkip` where it offers no such thing. */
  run(runtime: ValidationRuntime): Promise<void>
}

const subjects: Readonly<Record<string, Checks>> = {
  runtime: runtimeChecks,
  sandbox: sandboxChecks,
  idempotence: idempotenceChecks,
  container: containerChecks,
  setting: settingChecks,
  log: logChecks,
  exec: execChecks,
  image: imageChecks,
  mount: mountChecks,
  'image mount': imageMountChecks,
  user: userChecks,
  privilege: privilegeChecks,
  seccomp: seccompChecks,
  namespace: namespaceChecks,
  network: networkChecks,
  stats: statsChecks,
  'streamed list': listChecks,
}

/** What a node relies on, against a runtime with its kernel, images and network. No case leaves anything behind. */
export const validationSuite: readonly ValidationCase[] = Object.entries(subjects).flatMap(([subject, checks]) =>
  Object.entries(checks).map(([fact, run]) => ({ name: `${subject}: ${fact}`, run })),
)
