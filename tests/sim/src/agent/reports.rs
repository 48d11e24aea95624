//! An agent's reports, with the lies of a broken one.

use bytes::Bytes;
use windrow_agent::core::held::Held;
use windrow_common::codec::to_msgpack;
use windrow_common::wire;
use windrow_common::wire::agent::{EndCause, Ended, Report, ReportMessage};

use super::{Agent, back_off};
use crate::bus::Demands;
use crate::coordinator::moment;
use crate::names;
use crate::net::{Answer, Net, Op, Timer};

impl Agent {
    pub(super) fn send_reports(&mut self, net: &mut Net) {
        let (agent, now) = (self.name(), moment(net.now, self.clock_offset));
        let Some(process) = &mut self.process else { return };
        if process.report.is_some() || process.pauses {
            return;
        }
        let Some(session) = process.core.session().map(|session| session.session) else { return };
        let Some((first, mut reports)) = process.core.cut_reports(now) else { return };
        if self.lies {
            lie_within(net, process.core.held(), &mut reports);
        }
        let message = ReportMessage { version: wire::VERSION, agent, session, first, reports };
        let payload: Bytes = to_msgpack(&message).into();
        process.first_reports[1].get_or_insert(payload.clone());
        self.publish_report(net, session, payload, 0);
        if self.lies {
            self.lie(net, &message);
        }
    }

    fn publish_report(&mut self, net: &mut Net, session: u64, payload: Bytes, tries: u32) {
        let subject = names::subjects().report(&self.name());
        let content = payload.clone();
        let token = net.ask(self.node, self.life, 5_000, |token| Op::Store {
            subject,
            payload: content,
            demands: Demands::default(),
            token,
        });
        if let Some(process) = &mut self.process {
            process.report = Some((token, session, payload, tries));
        }
    }

    pub(super) fn on_report_answer(&mut self, net: &mut Net, token: u64, answer: &Answer) {
        let Some(process) = &mut self.process else { return };
        let Some((_, session, payload, tries)) =
            process.report.take_if(|(awaited, ..)| *awaited == token)
        else {
            return;
        };
        process.pauses = true;
        let delay = match answer {
            Answer::Stored(Ok(_)) => net.random.within(1, 20),
            _ => {
                // Kept, and told again after a while.
                process.report = Some((0, session, payload, tries + 1));
                back_off(net, tries)
            }
        };
        net.timer(self.node, self.life, delay, Timer::Report(session));
    }

    pub(super) fn repeat_report(&mut self, net: &mut Net) {
        let Some(process) = &mut self.process else { return };
        if let Some((_, session, payload, tries)) = process.report.take_if(|(t, ..)| *t == 0) {
            self.publish_report(net, session, payload, tries);
        }
    }

    /// What a broken agent tells besides: everything twice, under other numbers and sessions.
    fn lie(&mut self, net: &mut Net, message: &ReportMessage) {
        let mut other = message.clone();
        match net.random.index(4) {
            0 => other.session = other.session.saturating_sub(1),
            1 => other.session += 7,
            2 => other.first += 1000,
            _ => {}
        }
        net.inject("agent tells twice");
        let payload: Bytes = match net.random.index(8) {
            0 => vec![0xc1, 0xff, 0x00].into(),
            _ => to_msgpack(&other).into(),
        };
        let subject = names::subjects().report(&self.name());
        net.send(self.node, Op::Publish { subject, reply: None, payload });
    }
}

/// What a broken agent tells in the place of a start: that a neighbour of its lease's children ended.
fn lie_within(net: &mut Net, held: &Held, reports: &mut [Report]) {
    for report in reports {
        let Report::Started { lease, job, at, .. } = *report else { continue };
        let Some(held) = held.leases.get(&lease).filter(|held| held.lease.nodes.is_none()) else {
            continue;
        };
        if !net.random.chance(400) {
            continue;
        }
        net.inject("agent tells of what is not its own");
        *report = Report::Ended(Ended {
            lease,
            job,
            child: held.lease.first + held.lease.count,
            started_at: Some(at),
            ended_at: at,
            exit_code: Some(0),
            cause: EndCause::Exited,
            reason: None,
            log_bytes: 0,
            containers: Vec::new(),
        });
    }
}
