#!/usr/bin/env -S node --max-semi-space-size=2
// Not in dist, so that npm can link it into a clone before there is a build. A small space for young objects keeps some
// 50 MB off the process when many calls or a big pull come at once, and costs no time that one could measure.
import { main } from '../dist/command/cli.js'

await main()
